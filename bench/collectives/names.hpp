// What is measured, by the names that nccl-tests gives it.
#pragma once

#include <allfold/half.hpp>
#include <allfold/reduction.hpp>
#include <allfold/schedule/step.hpp>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace bench {

enum class datatype : std::uint8_t {
  int8,
  uint8,
  int32,
  uint32,
  int64,
  uint64,
  half,
  float32,
  float64,
  bfloat16
};
inline constexpr std::array<std::string_view, 10> datatype_names{
    "int8", "uint8", "int32", "uint32", "int64", "uint64", "half", "float", "double", "bfloat16"};

enum class redop : std::uint8_t { sum, product, minimum, maximum, average };
inline constexpr std::array<std::string_view, 5> redop_names{"sum", "prod", "min", "max", "avg"};

inline constexpr int collectives = 9;

constexpr std::string_view name_of(datatype it) {
  return datatype_names[static_cast<std::size_t>(it)];
}
constexpr std::string_view name_of(redop it) { return redop_names[static_cast<std::size_t>(it)]; }

/// True for the collectives that one rank differs from the others in.
constexpr bool has_root(allfold::collective what) {
  using enum allfold::collective;
  return what == reduce || what == broadcast || what == scatter || what == gather;
}

/// Calls `visit.operator()<T>()` with the element type.
template <class Visit>
decltype(auto) with_element(datatype type, Visit&& visit) {
  switch (type) {
    case datatype::int8:
      return visit.template operator()<std::int8_t>();
    case datatype::uint8:
      return visit.template operator()<std::uint8_t>();
    case datatype::int32:
      return visit.template operator()<std::int32_t>();
    case datatype::uint32:
      return visit.template operator()<std::uint32_t>();
    case datatype::int64:
      return visit.template operator()<std::int64_t>();
    case datatype::uint64:
      return visit.template operator()<std::uint64_t>();
    case datatype::half:
      return visit.template operator()<allfold::half>();
    case datatype::float32:
      return visit.template operator()<float>();
    case datatype::float64:
      return visit.template operator()<double>();
    case datatype::bfloat16:
      return visit.template operator()<allfold::bfloat16>();
  }
  throw std::logic_error{"an unknown element type"};
}

/// Calls `visit(operation)`.
template <class Visit>
decltype(auto) with_operation(redop operation, Visit&& visit) {
  switch (operation) {
    case redop::sum:
      return visit(allfold::sum{});
    case redop::product:
      return visit(allfold::product{});
    case redop::minimum:
      return visit(allfold::minimum{});
    case redop::maximum:
      return visit(allfold::maximum{});
    case redop::average:
      return visit(allfold::average{});
  }
  throw std::logic_error{"an unknown operation"};
}

inline std::size_t size_of(datatype type) {
  return with_element(type, []<class T>() { return sizeof(T); });
}

}  // namespace bench
