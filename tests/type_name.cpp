// The names of types.
#include <allfold/reduction.hpp>
#include <allfold/type_name.hpp>

#include <doctest/doctest.h>

#include <array>
#include <complex>
#include <set>
#include <string_view>
#include <vector>

#include "support/elements.hpp"

namespace outer {
struct plain {};
template <class T, int N>
struct with_arguments {
  struct inner {};
};
}  // namespace outer

namespace {

using allfold::type_name;

struct hidden {};

}  // namespace

TEST_CASE("names are those of the source") {
  static_assert(type_name<int>() == "int");
  static_assert(type_name<float>() == "float");
  static_assert(type_name<unsigned char>() == "unsigned char");
  static_assert(type_name<long double>() == "long double");
  static_assert(type_name<allfold::sum>() == "sum");
  static_assert(type_name<outer::plain>() == "outer::plain");
  static_assert(type_name<std::complex<float>>() == "std::complex<float>");
  static_assert(type_name<outer::with_arguments<double, 3>>() ==
                "outer::with_arguments<double, 3>");
  static_assert(type_name<outer::with_arguments<double, 3>::inner>() ==
                "outer::with_arguments<double, 3>::inner");
  CHECK(type_name<hidden>().ends_with("::hidden"));
  CHECK(type_name<std::vector<int>>().starts_with("std::vector<int"));
}

TEST_CASE("different types have different names") {
  std::set<std::string_view> names;
  std::size_t count = 0;
  const auto add = [&](auto element) {
    names.insert(type_name<typename decltype(element)::of>());
    ++count;
  };
  test::for_each(test::every_type{}, add);
  test::for_each(
      test::types<outer::plain, hidden, outer::with_arguments<int, 1>,
                  outer::with_arguments<int, 2>, outer::with_arguments<long, 1>, std::array<int, 3>,
                  std::array<int, 4>, int[3], int[4], const int, int*>{},
      add);
  CHECK(names.size() == count);
}
