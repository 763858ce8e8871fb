// The library's operations on their own.
#include <allfold/reduction.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <type_traits>

#include "support/elements.hpp"

namespace {

using allfold::accumulator;
using allfold::average;
using allfold::maximum;
using allfold::minimum;
using allfold::operation_on;
using allfold::product;
using allfold::sum;

/// Tells which of two equals it is.
struct tagged {
  int value;
  int tag;
  friend bool operator<(const tagged& a, const tagged& b) { return a.value < b.value; }
};

// ---- operations that are, and that are not ----

struct by_value {
  int operator()(int a, int b) const;
};
struct wider_result {
  long operator()(int a, int b) const;
};
struct not_const {
  int operator()(int a, int b);
};
struct of_one {
  int operator()(int a) const;
};
struct changes_its_operands {
  int operator()(int& a, int& b) const;
};
struct other_result {
  test::pack24 operator()(int a, int b) const;
};
struct not_copyable {
  not_copyable(const not_copyable&) = delete;
  int operator()(int a, int b) const;
};
struct of_floats {
  float operator()(float a, float b) const;
};

static_assert(operation_on<sum, int> && operation_on<product, double>);
static_assert(operation_on<minimum, float> && operation_on<maximum, short>);
static_assert(operation_on<average, std::complex<double>>);
static_assert(operation_on<std::plus<>, char> && operation_on<std::multiplies<float>, float>);
static_assert(operation_on<by_value, int> && operation_on<wider_result, int>);
static_assert(!operation_on<not_const, int> && !operation_on<of_one, int>);
static_assert(!operation_on<other_result, int>);
static_assert(!operation_on<not_copyable, int> && !operation_on<int, int>);
static_assert(!operation_on<by_value, test::pack24>);
// 16-bit floats are folded as floats.
static_assert(operation_on<of_floats, allfold::half> && operation_on<sum, allfold::bfloat16>);

// ---- what they are folded in ----

static_assert(std::same_as<accumulator<allfold::half>, float>);
static_assert(std::same_as<accumulator<allfold::bfloat16>, float>);
static_assert(std::same_as<accumulator<float>, float>);
static_assert(std::same_as<accumulator<double>, double>);
static_assert(std::same_as<accumulator<bool>, bool>);
static_assert(std::same_as<accumulator<signed char>, signed char>);
static_assert(std::same_as<accumulator<short>, short>);
static_assert(std::same_as<accumulator<std::complex<float>>, std::complex<float>>);
static_assert(std::same_as<accumulator<test::pack2>, test::pack2>);

// A constant expression has no undefined behaviour.
static_assert(sum{}(std::numeric_limits<int>::max(), 1) == std::numeric_limits<int>::min());
static_assert(product{}(std::uint16_t{65535}, std::uint16_t{65535}) == 1);
static_assert(product{}(std::numeric_limits<long long>::min(), -1LL) ==
              std::numeric_limits<long long>::min());
static_assert(average{}(std::int8_t{127}, std::int8_t{1}) == -128);
static_assert(minimum{}(1, 2) == 1 && maximum{}(1u, 2u) == 2 && average{}.finish(-7, 2) == -3);

}  // namespace

TEST_CASE_TEMPLATE("sums and products of integers wrap around", T, char, signed char, unsigned char,
                   short, unsigned short, int, unsigned, long, unsigned long, long long,
                   unsigned long long, char8_t, char16_t, char32_t, wchar_t) {
  test::random_bits random{sizeof(T)};
  using limits = std::numeric_limits<T>;
  const auto check = [](T a, T b) {
    const auto wide = [](T it) { return static_cast<std::uint64_t>(it); };
    return sum{}(a, b) == static_cast<T>(wide(a) + wide(b)) &&
           product{}(a, b) == static_cast<T>(wide(a) * wide(b)) && average{}(a, b) == sum{}(a, b);
  };
  int wrong = 0;
  for (int i = 0; i < 10'000; ++i)
    wrong += !check(static_cast<T>(random()), static_cast<T>(random()));
  for (const T a : {limits::min(), limits::max(), T{0}, T{1}, static_cast<T>(-1)})
    for (const T b : {limits::min(), limits::max(), T{0}, T{1}, static_cast<T>(-1)})
      wrong += !check(a, b);
  CHECK(wrong == 0);
  static_assert(std::same_as<decltype(sum{}(T{}, T{})), T>);
  static_assert(std::same_as<decltype(product{}(T{}, T{})), T>);
}

TEST_CASE("a sum of bools is or, a product and") {
  for (const bool a : {false, true})
    for (const bool b : {false, true}) {
      CHECK(sum{}(a, b) == (a || b));
      CHECK(product{}(a, b) == (a && b));
      CHECK(minimum{}(a, b) == (a && b));
      CHECK(maximum{}(a, b) == (a || b));
      CHECK(average{}.finish(average{}(a, b), 2) == (a || b));
    }
}

TEST_CASE("sums and products of other numbers are + and *") {
  CHECK(sum{}(0.1, 0.2) == 0.1 + 0.2);
  CHECK(sum{}(0.1f, 0.2f) == 0.1f + 0.2f);
  CHECK(product{}(0.1L, 0.2L) == 0.1L * 0.2L);
  const std::complex<float> a{1, 2}, b{3, -4};
  CHECK(sum{}(a, b) == std::complex<float>{4, -2});
  CHECK(product{}(a, b) == std::complex<float>{11, 2});
  const test::pack3 c{{250, 2, 3}}, d{{10, 20, 100}};
  CHECK(sum{}(c, d).part[0] == 4);
  CHECK(product{}(c, d).part[2] == 44);
}

TEST_CASE("minimum and maximum go by <, and keep the first of equals") {
  CHECK(minimum{}(-1, 1) == -1);
  CHECK(maximum{}(-1, 1) == 1);
  CHECK(minimum{}(std::uint8_t{200}, std::uint8_t{100}) == 100);
  CHECK(minimum{}(std::int8_t{-56}, std::int8_t{100}) == -56);
  CHECK(minimum{}(tagged{1, 10}, tagged{1, 20}).tag == 10);
  CHECK(maximum{}(tagged{1, 10}, tagged{1, 20}).tag == 10);
  CHECK(minimum{}(tagged{2, 10}, tagged{1, 20}).tag == 20);
  CHECK(maximum{}(tagged{1, 10}, tagged{2, 20}).tag == 20);
  CHECK(std::signbit(minimum{}(-0.0f, 0.0f)));
  CHECK(!std::signbit(minimum{}(0.0f, -0.0f)));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(minimum{}(nan, 1.0)));
  CHECK(minimum{}(1.0, nan) == 1.0);
}

TEST_CASE("average divides what is complete by the ranks") {
  CHECK(average{}.finish(7, 2) == 3);
  CHECK(average{}.finish(-7, 2) == -3);
  CHECK(average{}.finish(7u, 2) == 3u);
  CHECK(average{}.finish(std::numeric_limits<std::uint64_t>::max(), 3) ==
        std::numeric_limits<std::uint64_t>::max() / 3);
  CHECK(average{}.finish(std::numeric_limits<int>::min(), 1) == std::numeric_limits<int>::min());
  CHECK(average{}.finish(std::int8_t{-128}, 3) == -42);
  CHECK(average{}.finish(1.0f, 3) == 1.0f / 3.0f);
  CHECK(average{}.finish(1.0, 3) == 1.0 / 3.0);
  CHECK(average{}.finish(std::complex<double>{1, -2}, 4) == std::complex<double>{0.25, -0.5});
  CHECK(average{}.finish(test::pack24{{3, 6, -9}}, 3).part[2] == -3);
  static_assert(std::same_as<decltype(average{}.finish(short{1}, 2)), short>);
}

TEST_CASE("an operation that changes its operands is none") {
  CHECK(!operation_on<changes_its_operands, int>);
}

TEST_CASE("average divides by more ranks than the element type can count") {
  CHECK(average{}.finish(std::int8_t{100}, 200) == 0);
  CHECK(average{}.finish(std::uint8_t{200}, 300) == 0);
  CHECK(average{}.finish(std::int16_t{30000}, 40000) == 0);
}
