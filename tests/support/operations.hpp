// The operations that elements are folded with in tests, besides the library's own.
#pragma once

#include <allfold/reduction.hpp>
#include <cstdint>
#include <functional>

#include "support/elements.hpp"

namespace test {

/// A user's functor whose result tells the order and the grouping of a fold: 2a + b. It neither
/// commutes nor associates.
struct twice_and {
  template <class T>
  ALLFOLD_HOST_DEVICE T operator()(const T& a, const T& b) const {
    return allfold::sum{}(allfold::sum{}(a, a), b);
  }
};

/// A lambda; the last contribution wins.
inline constexpr auto last = [](const auto&, const auto& b) { return b; };
using last_wins = std::remove_const_t<decltype(last)>;

/// A user's operation that ends with something of its own: the sum, doubled.
struct sum_doubled {
  template <class T>
  ALLFOLD_HOST_DEVICE T operator()(const T& a, const T& b) const {
    return allfold::sum{}(a, b);
  }
  template <class T>
  ALLFOLD_HOST_DEVICE T finish(const T& total, int) const {
    return allfold::sum{}(total, total);
  }
};

/// The first and the last of what has been folded: associates, but does not commute.
struct ends {
  std::uint32_t first, last;
};
struct join_ends {
  ALLFOLD_HOST_DEVICE ends operator()(ends a, ends b) const { return {a.first, b.last}; }
};

/// 2 × 2 matrices modulo 2^32, and their product: associates, but does not commute.
struct matrix {
  std::uint32_t at[2][2];
};
struct multiply_matrices {
  ALLFOLD_HOST_DEVICE matrix operator()(const matrix& a, const matrix& b) const {
    matrix made{};
    for (int row = 0; row < 2; ++row)
      for (int column = 0; column < 2; ++column)
        made.at[row][column] = a.at[row][0] * b.at[0][column] + a.at[row][1] * b.at[1][column];
    return made;
  }
};

template <>
struct random_value<ends> {
  ends operator()(random_bits& random, range) const {
    const auto both = random();
    return {static_cast<std::uint32_t>(both), static_cast<std::uint32_t>(both >> 32)};
  }
};
template <>
struct random_value<matrix> {
  matrix operator()(random_bits& random, range) const {
    matrix made{};
    for (auto& row : made.at)
      for (std::uint32_t& each : row) each = static_cast<std::uint32_t>(random());
    return made;
  }
};

/// True if an operation folds elements of a type.
template <class Operation, class T>
inline constexpr bool suits = allfold::operation_on<Operation, T>;
template <class Component>
inline constexpr bool suits<allfold::minimum, std::complex<Component>> = false;
template <class Component>
inline constexpr bool suits<allfold::maximum, std::complex<Component>> = false;

using every_operation =
    types<allfold::sum, allfold::product, allfold::minimum, allfold::maximum, allfold::average,
          std::plus<>, std::multiplies<>, twice_and, last_wins, sum_doubled>;

/// The values that an operation is defined for: the standard library's must not overflow.
template <class Operation, class T>
inline constexpr range range_for = std::integral<T> && (std::same_as<Operation, std::plus<>> ||
                                                        std::same_as<Operation, std::multiplies<>>)
                                       ? range::small
                                       : range::all;

}  // namespace test
