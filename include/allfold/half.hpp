// 16-bit floating-point types for storage. Arithmetic on them happens in float.
#pragma once

#include <allfold/config.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace allfold {

namespace detail {

/// std::bit_cast, in kernels too.
template <class To, class From>
ALLFOLD_HOST_DEVICE constexpr To same_bits(From value) {
  return __builtin_bit_cast(To, value);
}

}  // namespace detail

/// bfloat16: the upper half of a float. Converts from float by rounding to nearest even; NaN stays
/// NaN.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  ALLFOLD_HOST_DEVICE constexpr explicit bfloat16(float value) {
    const auto wide = detail::same_bits<std::uint32_t>(value);
    const std::uint32_t rounded = (wide + 0x7fffu + ((wide >> 16) & 1u)) >> 16;
    const bool is_nan = (wide & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<std::uint16_t>(is_nan ? (wide >> 16) | 0x40u : rounded);
  }
  ALLFOLD_HOST_DEVICE constexpr explicit operator float() const {
    return detail::same_bits<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  friend constexpr bool operator==(bfloat16 a, bfloat16 b) {
    return static_cast<float>(a) == static_cast<float>(b);
  }
  friend constexpr auto operator<=>(bfloat16 a, bfloat16 b) {
    return static_cast<float>(a) <=> static_cast<float>(b);
  }
};

/// IEEE 754 binary16. Converts from float by rounding to nearest even, with subnormals and
/// infinity.
struct half {
  std::uint16_t bits = 0;

  half() = default;
  ALLFOLD_HOST_DEVICE constexpr explicit half(float value) {
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    const auto wide = detail::same_bits<std::uint32_t>(value);
    const std::uint32_t sign = (wide >> 16) & 0x8000u;
    const std::uint32_t size = wide & 0x7fffffffu;
    // Adding 0.5 to a number below 2^-14 leaves its half-precision subnormal, rounded by the
    // floating-point unit itself, in the low bits of the sum.
    const float shifted = detail::same_bits<float>(size) + 0.5f;
    const std::uint32_t subnormal = detail::same_bits<std::uint32_t>(shifted) - 0x3f000000u;
    const std::uint32_t normal = (size - 0x38000000u + 0xfffu + ((size >> 13) & 1u)) >> 13;
    const std::uint32_t special = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const std::uint32_t finite = size < 0x38800000u ? subnormal : normal;
    bits = static_cast<std::uint16_t>(sign | (size >= 0x477ff000u ? special : finite));
#endif
  }
  ALLFOLD_HOST_DEVICE constexpr explicit operator float() const {
#if defined(__CUDA_ARCH__)
    float value = 0;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t rest = static_cast<std::uint32_t>(bits & 0x7fffu) << 13;
    const std::uint32_t normal = rest + 0x38000000u;
    const std::uint32_t special = rest + 0x70000000u;
    // 2^-14 with the subnormal's bits as mantissa, less 2^-14, is the subnormal's value.
    const float subnormal = detail::same_bits<float>(rest + 0x38800000u) - 0x1p-14f;
    const std::uint32_t size = rest >= 0x0f800000u   ? special
                               : rest >= 0x00800000u ? normal
                                                     : detail::same_bits<std::uint32_t>(subnormal);
    return detail::same_bits<float>(sign | size);
#endif
  }
  friend constexpr bool operator==(half a, half b) {
    return static_cast<float>(a) == static_cast<float>(b);
  }
  friend constexpr auto operator<=>(half a, half b) {
    return static_cast<float>(a) <=> static_cast<float>(b);
  }
};

/// A 16-bit floating-point storage type: the two above, the compilers' _Float16 and __bf16, CUDA's
/// __half and __nv_bfloat16, Eigen's and LibTorch's: whatever fills 16 bits, is no integer and
/// converts explicitly from and to float.
template <class T>
concept half_precision = sizeof(T) == 2 && !std::integral<T> && !std::is_enum_v<T> &&
                         !std::is_aggregate_v<T> && requires(T value, float wide) {
  static_cast<float>(value);
  static_cast<T>(wide);
};

}  // namespace allfold
