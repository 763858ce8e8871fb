// The elements that ranks bring to a check. Each is a function of seed, rank and index, so that
// every rank can tell what the others have brought without looking at their memory.
#pragma once

#include "names.hpp"

#include <algorithm>
#include <concepts>
#include <limits>

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

/// The floats that a rank brings to an exact fold: for products powers of two, with exponents that
/// cannot add up to an overflow; else integers so small that all ranks' sum has no more digits than
/// T.
template <class T>
class exact_floats {
  using wide = allfold::accumulator<T>;

 public:
  exact_floats(const value_source& from, int rank)
      : product_{from.operation == redop::product},
        scales_{rank % (from.ranks / 8 + 1) == 0},
        values_{1 + std::min((std::uint64_t{1} << std::min(digits_of<T>, 20)) /
                                 static_cast<std::uint64_t>(from.ranks),
                             std::uint64_t{1000})} {}

  T operator()(std::uint64_t bits) const {
    const auto drawn = static_cast<std::uint32_t>(bits);
    const wide size = !product_  ? static_cast<wide>((drawn * values_) >> 32)
                      : !scales_ ? wide{1}
                                 : static_cast<wide>(1u << drawn % 3) / 2;
    return static_cast<T>((bits >> 63) != 0 ? wide{0} - size : size);
  }

 private:
  bool product_, scales_;
  std::uint64_t values_;
};

/// A float with random sign and digits, of a magnitude from 1/8 to 16; for products from 1/2 to 2.
template <class T>
T random_float(bool for_product, std::uint64_t bits) {
  using wide = allfold::accumulator<T>;
  constexpr int digits = digits_of<wide> - 1;
  constexpr auto one = static_cast<wide>(std::uint64_t{1} << digits);
  const auto drawn = static_cast<std::int64_t>((bits >> 8) & ((std::uint64_t{1} << digits) - 1));
  const int exponent = static_cast<int>(for_product ? bits % 2 + 2 : bits % 7);
  const wide scale = static_cast<wide>(1 << exponent) / 8;
  const wide size = (1 + static_cast<wide>(drawn) / one) * scale;
  return static_cast<T>((bits >> 63) != 0 ? -size : size);
}

/// Elements [first, first + count) of rank `rank`'s input. Integers are any bits: what wraps around
/// is exact.
template <class T>
void fill_values(const value_source& from, int rank, std::size_t first, std::size_t count, T* out) {
  const auto bits_of = [&](std::size_t i) { return mixed_bits(from.seed, rank, first + i); };
  if constexpr (std::integral<T>) {
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<T>(bits_of(i));
  } else if (from.kind == value_kind::exact) {
    const exact_floats<T> made{from, rank};
    for (std::size_t i = 0; i < count; ++i) out[i] = made(bits_of(i));
  } else {
    const bool small = from.operation == redop::product;
    for (std::size_t i = 0; i < count; ++i) out[i] = random_float<T>(small, bits_of(i));
  }
}

}  // namespace bench
