// The element types that everything is tested with, and random values of them.
#pragma once

#include <algorithm>
#include <allfold/half.hpp>
#include <allfold/type_name.hpp>
#include <cmath>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <vector>

#include "support/foreign_types.hpp"

namespace test {

// ---- a list of types ----

template <class... T>
struct types {};

template <class T>
struct type {
  using of = T;
};

namespace detail {
template <class... T, class... U>
types<T..., U...> joined(types<T...>, types<U...>);
}
template <class A, class B>
using joined = decltype(detail::joined(A{}, B{}));

/// Calls `visit(type<T>{})` for each type of the list.
template <class... T, class Visit>
void for_each(types<T...>, Visit&& visit) {
  (visit(type<T>{}), ...);
}

// ---- a user's own elements ----

/// N components that are added, multiplied, divided and compared one by one. No padding.
template <class Component, std::size_t N, std::size_t Alignment = alignof(Component)>
struct alignas(Alignment) pack {
  Component part[N];

  ALLFOLD_HOST_DEVICE friend bool operator<(const pack& a, const pack& b) {
    for (std::size_t i = 0; i < N; ++i)
      if (a.part[i] < b.part[i] || b.part[i] < a.part[i]) return a.part[i] < b.part[i];
    return false;
  }
  ALLFOLD_HOST_DEVICE friend pack operator+(const pack& a, const pack& b) {
    return each([&](std::size_t i) { return a.part[i] + b.part[i]; });
  }
  ALLFOLD_HOST_DEVICE friend pack operator*(const pack& a, const pack& b) {
    return each([&](std::size_t i) { return a.part[i] * b.part[i]; });
  }
  ALLFOLD_HOST_DEVICE friend pack operator/(const pack& a, int divisor) {
    return each([&](std::size_t i) { return a.part[i] / static_cast<Component>(divisor); });
  }

 private:
  template <class Value>
  ALLFOLD_HOST_DEVICE static pack each(Value value) {
    pack made{};
    for (std::size_t i = 0; i < N; ++i) made.part[i] = static_cast<Component>(value(i));
    return made;
  }
};

using pack1 = pack<std::uint8_t, 1>;
using pack2 = pack<std::uint8_t, 2>;
using pack3 = pack<std::uint8_t, 3>;
using pack12 = pack<float, 3>;
using pack24 = pack<double, 3>;
using pack72 = pack<std::uint64_t, 9>;
using aligned32 = pack<float, 8, 32>;
static_assert(sizeof(pack1) == 1 && sizeof(pack2) == 2 && sizeof(pack3) == 3);
static_assert(sizeof(pack12) == 12 && sizeof(pack24) == 24 && sizeof(pack72) == 72);
static_assert(sizeof(aligned32) == 32 && alignof(aligned32) == 32);

// ---- the lists ----

using short_integer_types = types<bool, char, signed char, unsigned char, short, unsigned short>;
using long_integer_types = types<int, unsigned, long, unsigned long, long long, unsigned long long>;
using integer_types = joined<short_integer_types, long_integer_types>;
using floating_types = types<float, double, long double>;
using complex_types = types<std::complex<float>, std::complex<double>>;
using user_types = types<pack1, pack2, pack3, pack12, pack24, pack72, aligned32>;

#if TEST_HAS_FLOAT16
using float16_types = types<float16>;
#else
using float16_types = types<>;
#endif
#if TEST_HAS_BF16
using bf16_types = types<bf16>;
#else
using bf16_types = types<>;
#endif
#if TEST_HAS_CUDA_TYPES
using cuda_types = types<__half, __nv_bfloat16>;
#else
using cuda_types = types<>;
#endif
using half_types = joined<types<allfold::half, allfold::bfloat16>,
                          joined<joined<float16_types, bf16_types>, cuda_types>>;

using arithmetic_types = joined<integer_types, floating_types>;
using every_type = joined<joined<arithmetic_types, complex_types>, joined<half_types, user_types>>;

/// A few that differ in everything that matters: width, arithmetic, rounding.
using some_types = types<int, float, allfold::bfloat16, pack24>;

/// The types with which everything is tested that treats all of them alike.
#if defined(ALLFOLD_TEST_EVERY_TYPE) && !ALLFOLD_TEST_EVERY_TYPE
using tested_types = some_types;
#else
using tested_types = every_type;
#endif

// ---- random values ----

/// Random bits. Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
class random_bits {
 public:
  explicit random_bits(std::uint64_t seed) : state_{seed} {}
  std::uint64_t operator()() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// A number in [0, n).
  std::uint64_t below(std::uint64_t n) { return (*this)() % n; }

 private:
  std::uint64_t state_;
};

/// A float with random sign and mantissa. Most have magnitudes near 1, so that every digit of a sum
/// counts; some lie anywhere in 2^±widest, and a few are zero, infinite or subnormal.
template <std::floating_point F>
F random_float(random_bits& random, int widest) {
  constexpr int digits = std::min(std::numeric_limits<F>::digits, 64) - 1;
  const std::uint64_t choice = random();
  const auto kind = choice % 512;
  const auto spread = static_cast<std::uint64_t>(kind < 64 ? 2 * widest + 1 : 7);
  const int exponent = static_cast<int>((choice >> 16) % spread) - static_cast<int>(spread / 2);
  const F mantissa = 1 + std::ldexp(static_cast<F>(random() >> (64 - digits)), -digits);
  F value = std::ldexp(mantissa, exponent);
  if (kind == 508 || kind == 509) value = 0;
  if (kind == 510) value = std::numeric_limits<F>::infinity();
  if (kind == 511) value = std::numeric_limits<F>::denorm_min();
  return (choice >> 63) != 0 ? -value : value;
}

/// Which values integers take.
enum class range : std::uint8_t {
  all,   ///< all bit patterns
  small  ///< −3 to 3, for operations that must not overflow
};

template <class T>
struct random_value {
  T operator()(random_bits& random, range from) const {
    if constexpr (std::same_as<T, bool>) {
      return (random() & 1u) != 0;
    } else if constexpr (std::integral<T>) {
      const std::uint64_t bits = random();
      return static_cast<T>(from == range::all ? bits : bits % 7 - (std::is_signed_v<T> ? 3 : 0));
    } else if constexpr (std::floating_point<T>) {
      return random_float<T>(random, 30);
    } else {
      static_assert(allfold::half_precision<T>);
      return static_cast<T>(random_float<float>(random, 12));
    }
  }
};
template <class F>
struct random_value<std::complex<F>> {
  std::complex<F> operator()(random_bits& random, range) const {
    const F real = random_float<F>(random, 30);
    return {real, random_float<F>(random, 30)};
  }
};
template <class Component, std::size_t N, std::size_t Alignment>
struct random_value<pack<Component, N, Alignment>> {
  pack<Component, N, Alignment> operator()(random_bits& random, range from) const {
    pack<Component, N, Alignment> value{};
    for (Component& each : value.part) each = random_value<Component>{}(random, from);
    return value;
  }
};

// ---- memory ----

/// Hands out memory that suits every element type.
template <class T>
struct aligned_allocator {
  using value_type = T;
  static constexpr std::align_val_t alignment{64};

  aligned_allocator() = default;
  template <class U>
  aligned_allocator(const aligned_allocator<U>&) {}  // NOLINT: allocators convert
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), alignment)); }
  void deallocate(T* it, std::size_t) { ::operator delete(it, alignment); }
  friend bool operator==(const aligned_allocator&, const aligned_allocator&) { return true; }
};

/// Bytes that begin on a cache line.
using bytes = std::vector<std::byte, aligned_allocator<std::byte>>;

/// What is known of an element type while the program runs.
struct element_kind {
  std::string_view name;
  std::size_t size;
  std::size_t alignment;
  std::size_t value_bytes;  ///< the bytes of an element that are not padding come first
  void (*fill)(std::byte* elements, std::size_t count, random_bits& random, range from);
  bool (*alike)(const std::byte* a, const std::byte* b);
};

template <class T>
void fill_random(std::byte* elements, std::size_t count, random_bits& random, range from) {
  for (std::size_t i = 0; i < count; ++i) {
    const T value = random_value<T>{}(random, from);
    std::memcpy(elements + i * sizeof(T), &value, sizeof(T));
  }
}

/// Whether elements of different bits are the same nevertheless. On the host, nothing but the bits
/// counts. A device's NaN has other bits than the host's: there one NaN is like another.
template <class T>
bool alike(const std::byte* a, const std::byte* b) {
#ifdef ALLFOLD_TEST_ON_CUDA
  const auto is_nan = []<class Value>(const Value& value) {
    if constexpr (std::floating_point<Value> || allfold::half_precision<Value>)
      return std::isnan(static_cast<float>(value));
    else
      return false;
  };
  T first, second;
  std::memcpy(&first, a, sizeof(T));
  std::memcpy(&second, b, sizeof(T));
  if constexpr (requires { first.part; }) {
    for (std::size_t i = 0; i < std::size(first.part); ++i)
      if (std::memcmp(&first.part[i], &second.part[i], sizeof first.part[i]) != 0 &&
          !(is_nan(first.part[i]) && is_nan(second.part[i])))
        return false;
    return true;
  }
  return is_nan(first) && is_nan(second);
#else
  static_cast<void>(a);
  static_cast<void>(b);
  return false;
#endif
}

template <class T>
inline constexpr element_kind kind_of_element{
    allfold::type_name<T>(),
    sizeof(T),
    alignof(T),
    std::same_as<T, long double>&& std::numeric_limits<long double>::digits == 64 ? 10 : sizeof(T),
    &fill_random<T>,
    &alike<T>};

/// The first of `count` elements whose values differ, bit for bit, or `count`.
inline std::size_t first_difference(const element_kind& kind, const std::byte* a,
                                    const std::byte* b, std::size_t count) {
  if (count == 0 || std::memcmp(a, b, count * kind.size) == 0) return count;
  for (std::size_t i = 0; i < count; ++i)
    if (std::memcmp(a + i * kind.size, b + i * kind.size, kind.value_bytes) != 0 &&
        !kind.alike(a + i * kind.size, b + i * kind.size))
      return i;
  return count;
}

}  // namespace test
