// The elements that ranks bring to a check. Each is a function of seed, rank and index, so that
// every rank can tell what the others have brought without looking at their memory.
#pragma once

#include "names.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>

namespace bench {

enum class value_kind : std::uint8_t {
  exact,  ///< any order of folding gives the same bits
  random  ///< every digit counts: another order, other bits
};

/// What all ranks' inputs are made from.
struct value_source {
  value_kind kind = value_kind::random;
  redop operation = redop::sum;
  int ranks = 1;
  std::uint64_t seed = 0;
};

/// 64 well-mixed bits: the output function of SplitMix64 (Steele, Lea and Flood, 2014).
constexpr std::uint64_t mixed_bits(std::uint64_t seed, int rank, std::size_t index) {
  std::uint64_t z = (seed * 1024 + static_cast<std::uint64_t>(rank)) * 0xd1342543de82ef95u +
                    static_cast<std::uint64_t>(index) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// The significant bits of a type.
template <class T>
inline constexpr int digits_of = std::numeric_limits<T>::digits;
template <>
inline constexpr int digits_of<allfold::half> = 11;
template <>
inline constexpr int digits_of<allfold::bfloat16> = 8;

/// A float whose folds are exact: for products a power of two, with exponents that cannot add up
/// to an overflow; else an integer so small that all ranks' sum has no more digits than T.
template <class T>
T exact_float(const value_source& from, int rank, std::uint64_t bits) {
  using wide = allfold::accumulator<T>;
  const bool negative = (bits >> 63) != 0;
  if (from.operation == redop::product) {
    const bool scales = rank % (from.ranks / 8 + 1) == 0;
    const wide size = !scales ? 1 : bits % 3 == 0 ? wide{0.5} : static_cast<wide>(bits % 3);
    return static_cast<T>(negative ? -size : size);
  }
  const auto most = std::min<std::uint64_t>(
      (std::uint64_t{1} << std::min(digits_of<T>, 20)) / static_cast<std::uint64_t>(from.ranks),
      1000);
  const auto size = static_cast<wide>((bits & 0xffffffffu) % (most + 1));
  return static_cast<T>(negative && size != 0 ? -size : size);
}

/// A float with random sign and digits, of a magnitude near 1.
template <class T>
T random_float(const value_source& from, std::uint64_t bits) {
  using wide = allfold::accumulator<T>;
  constexpr int digits = digits_of<wide> - 1;
  const wide mantissa = 1 + static_cast<wide>((bits >> 8) & ((std::uint64_t{1} << digits) - 1)) /
                                static_cast<wide>(std::uint64_t{1} << digits);
  constexpr wide scales[] = {0.125, 0.25, 0.5, 1, 1, 2, 4, 8};
  const wide scale = from.operation == redop::product ? wide{0.5} + static_cast<wide>(bits % 2) / 2
                                                      : scales[bits % 8];
  const wide size = mantissa * scale;
  return static_cast<T>((bits >> 63) != 0 ? -size : size);
}

/// Element `index` of rank `rank`'s input. Integers are any bits: what wraps around is exact.
template <class T>
T value_at(const value_source& from, int rank, std::size_t index) {
  const std::uint64_t bits = mixed_bits(from.seed, rank, index);
  if constexpr (std::integral<T>)
    return static_cast<T>(bits);
  else if (from.kind == value_kind::exact)
    return exact_float<T>(from, rank, bits);
  else
    return random_float<T>(from, bits);
}

template <class T>
void fill_values(const value_source& from, int rank, std::size_t first, std::size_t count, T* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = value_at<T>(from, rank, first + i);
}

}  // namespace bench
