// The processor's vectors, spelled with the vector types of GCC and Clang. GCC's -O2 keeps local
// arrays in memory; these stay in registers, at any flags.
#pragma once

#include <allfold/reduction.hpp>
#include <cstddef>
#include <type_traits>

namespace allfold::detail {

/// The bytes of a vector register, as far as the compiler was told.
#if defined(__AVX512F__)
inline constexpr std::size_t register_bytes = 64;
#elif defined(__AVX__)
inline constexpr std::size_t register_bytes = 32;
#else
inline constexpr std::size_t register_bytes = 16;
#endif

/// A register full of lanes.
template <class Lane>
struct pack_of {
  static constexpr std::size_t lanes = register_bytes / sizeof(Lane);
  typedef Lane type __attribute__((vector_size(register_bytes)));
  /// The same at any address, over elements of any type.
  typedef Lane in_memory __attribute__((vector_size(register_bytes), aligned(1), may_alias));

  static type load(const void* from) { return *static_cast<const in_memory*>(from); }
  static void store(void* to, const type& values) { *static_cast<in_memory*>(to) = values; }
};
template <class Lane>
using pack = typename pack_of<Lane>::type;

template <class Operation>
inline constexpr bool is_ordering =
    std::is_same_v<Operation, minimum> || std::is_same_v<Operation, maximum>;

/// An operation of the library on whole registers. For the host alone: kernels know no such types.
template <class Operation, class Pack>
Pack combine(const Pack& a, const Pack& b) {
  if constexpr (std::is_base_of_v<sum, Operation>)
    return a + b;
  else if constexpr (std::is_same_v<Operation, product>)
    return a * b;
  else if constexpr (std::is_same_v<Operation, minimum>)
    return b < a ? b : a;
  else
    return a < b ? b : a;
}

/// A register full of elements of type T, ready to be folded. `Lane` is T or an integer of its
/// size.
template <class T, class Lane = T>
struct packed {
  static constexpr std::size_t count = pack_of<Lane>::lanes;
  pack<Lane> values;

  static packed load(const T* from) { return {pack_of<Lane>::load(from)}; }
  void store(T* to) const { pack_of<Lane>::store(to, values); }
  template <class Operation>
  void fold(const packed& other) {
    values = combine<Operation>(values, other.values);
  }
  void divide(int ranks) { values = values / static_cast<Lane>(ranks); }
};

using floats = pack<float>;
using ints = pack<std::int32_t>;

/// 16-bit elements, folded in float. A register of them is taken as 32-bit integers, each holding
/// two: the lower halves make one register of floats and the upper halves another, so that no
/// element has to change its lane. `Format` converts between 16 bits in an integer and a float.
template <class T, class Format>
struct packed_halves {
  static constexpr std::size_t count = register_bytes / sizeof(T);
  floats lower, upper;

  static packed_halves load(const T* from) {
    const ints both = pack_of<std::int32_t>::load(from);
    return {Format::decode(both & 0xffff), Format::decode((both >> 16) & 0xffff)};
  }
  void store(T* to) const {
    pack_of<std::int32_t>::store(to, Format::encode(lower) | (Format::encode(upper) << 16));
  }
  template <class Operation>
  void fold(const packed_halves& other) {
    lower = combine<Operation>(lower, other.lower);
    upper = combine<Operation>(upper, other.upper);
  }
  void divide(int ranks) {
    lower = lower / static_cast<float>(ranks);
    upper = upper / static_cast<float>(ranks);
  }
};

/// The conversions of allfold::bfloat16, lane by lane.
struct bfloat16_format {
  static floats decode(const ints& bits) { return reinterpret_cast<floats>(bits << 16); }
  static ints encode(const floats& values) {
    const auto wide = reinterpret_cast<pack<std::uint32_t>>(values);
    const auto rounded = reinterpret_cast<ints>((wide + 0x7fffu + ((wide >> 16) & 1u)) >> 16);
    const auto quiet = reinterpret_cast<ints>((wide >> 16) | 0x40u);
    const auto size = reinterpret_cast<ints>(wide & 0x7fffffffu);
    return size > 0x7f800000 ? quiet : rounded;
  }
};

/// The conversions of allfold::half, lane by lane; see there for how.
struct half_format {
  static floats decode(const ints& bits) {
    const ints sign = (bits & 0x8000) << 16;
    const ints rest = (bits & 0x7fff) << 13;
    const ints normal = rest + 0x38000000;
    const ints special = rest + 0x70000000;
    const auto small = reinterpret_cast<floats>(rest + 0x38800000) - 0x1p-14f;
    const auto subnormal = reinterpret_cast<ints>(small);
    const ints finite = rest >= 0x00800000 ? normal : subnormal;
    const ints size = rest >= 0x0f800000 ? special : finite;
    return reinterpret_cast<floats>(size | sign);
  }
  static ints encode(const floats& values) {
    const auto wide = reinterpret_cast<ints>(values);
    const ints sign = (wide >> 16) & 0x8000;
    const ints size = wide & 0x7fffffff;
    const auto shifted = reinterpret_cast<floats>(size) + 0.5f;
    const ints subnormal = reinterpret_cast<ints>(shifted) - 0x3f000000;
    const ints normal = (size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13;
    const ints infinite = size * 0 + 0x7c00;
    const ints special = size > 0x7f800000 ? infinite + 0x200 : infinite;
    const ints finite = size < 0x38800000 ? subnormal : normal;
    return sign | (size >= 0x477ff000 ? special : finite);
  }
};

template <>
struct packed<bfloat16, bfloat16> : packed_halves<bfloat16, bfloat16_format> {
  using base = packed_halves<bfloat16, bfloat16_format>;
  static packed load(const bfloat16* from) { return {base::load(from)}; }
};
template <>
struct packed<half, half> : packed_halves<half, half_format> {
  using base = packed_halves<half, half_format>;
  static packed load(const half* from) { return {base::load(from)}; }
};

/// True for the element types that lanes hold.
template <class T>
inline constexpr bool fits_lanes = (std::is_arithmetic_v<T> && !std::is_same_v<T, bool> &&
                                    !std::is_same_v<T, long double>) ||
                                   std::is_same_v<T, half> || std::is_same_v<T, bfloat16>;

}  // namespace allfold::detail
