// Conversions of 16-bit floats, over every bit pattern and every place where rounding changes.
#include <allfold/half.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <compare>
#include <cstdint>
#include <limits>

#include "support/elements.hpp"

namespace {

constexpr std::uint32_t patterns = 65536;

float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

/// A 16-bit format by its field widths.
struct format {
  int mantissa_bits;
  int bias;
};
constexpr format half_format{10, 15};
constexpr format bfloat16_format{7, 127};

/// What IEEE 754 says that a bit pattern means; NaN keeps its sign and its payload's upper bits.
float meaning(const format& it, std::uint32_t bits) {
  const int exponent_bits = 15 - it.mantissa_bits;
  const std::uint32_t mantissa = bits & ((1u << it.mantissa_bits) - 1);
  const auto exponent = static_cast<int>((bits >> it.mantissa_bits) & ((1u << exponent_bits) - 1));
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  if (exponent == (1 << exponent_bits) - 1)  // infinity, or NaN
    return from_bits(sign | 0x7f800000u | (mantissa << (23 - it.mantissa_bits)));
  const bool subnormal = exponent == 0;
  const auto significand =
      static_cast<double>(subnormal ? mantissa : mantissa | (1u << it.mantissa_bits));
  const int power = (subnormal ? 1 : exponent) - it.bias - it.mantissa_bits;
  const auto size = static_cast<float>(std::ldexp(significand, power));
  return from_bits(bits_of(size) | sign);
}

/// The bits nearest to a number that is not NaN, even ones on a tie, computed in double precision.
std::uint32_t nearest(const format& it, float value) {
  const std::uint32_t sign = (bits_of(value) >> 16) & 0x8000u;
  const double size = std::abs(static_cast<double>(value));
  const int greatest = it.bias;  // the exponent of the greatest number
  const std::uint32_t infinity = ((1u << (15 - it.mantissa_bits)) - 1) << it.mantissa_bits;
  if (size >= std::ldexp(2.0 - std::ldexp(1.0, -it.mantissa_bits - 1), greatest))
    return sign | infinity;
  const int least = 1 - it.bias;  // the exponent of the smallest normal number
  const int exponent = size == 0 ? least : std::max(std::ilogb(size), least);
  const double quanta = std::nearbyint(std::ldexp(size, it.mantissa_bits - exponent));
  // A significand that rounds up to 2 carries into the exponent by itself.
  const auto steps = static_cast<std::uint32_t>(quanta);
  const auto biased = static_cast<std::uint32_t>(exponent - least);
  return sign | ((biased << it.mantissa_bits) + steps);
}

template <class T>
constexpr format format_of = std::is_same_v<T, allfold::half> ? half_format : bfloat16_format;

template <class T>
T with_bits(std::uint32_t bits) {
  T made;
  made.bits = static_cast<std::uint16_t>(bits);
  return made;
}

/// Calls `visit` with the floats halfway between neighbours of T, with those next to them, and with
/// the numbers themselves, of both signs.
template <class T, class Visit>
void for_each_boundary(Visit visit) {
  for (std::uint32_t bits = 0; bits < 0x8000u; ++bits) {
    const float low = meaning(format_of<T>, bits);
    const float high = meaning(format_of<T>, bits + 1);
    if (!std::isfinite(low)) continue;
    // The greatest number's successor would be the next power of two.
    const double above =
        std::isfinite(high) ? static_cast<double>(high) : std::ldexp(1.0, std::ilogb(low) + 1);
    const double middle = (static_cast<double>(low) + above) / 2;
    const auto tie = static_cast<float>(middle);
    for (const float size : {low, tie, std::nextafter(tie, 0.0f), std::nextafter(tie, INFINITY),
                             std::nextafter(low, INFINITY)}) {
      visit(size);
      visit(-size);
    }
  }
}

template <class T>
bool rounds_rightly(float value) {
  const T found{value};
  if (std::isnan(value))
    return std::isnan(static_cast<float>(found)) &&
           std::signbit(static_cast<float>(found)) == std::signbit(value);
  return found.bits == nearest(format_of<T>, value);
}

/// A random bit pattern, more often than not of a size that T can tell apart.
template <class T>
float random_bits_near(test::random_bits& random) {
  const auto bits = static_cast<std::uint32_t>(random());
  if (std::is_same_v<T, allfold::bfloat16> || random.below(4) == 0) return from_bits(bits);
  const auto exponent = static_cast<std::uint32_t>(127 - 27 + random.below(45));
  return from_bits((bits & 0x807fffffu) | (exponent << 23));
}

/// Compares conversions to and from another type of the same format, bit for bit but for NaN.
template <class T, class Other>
std::size_t disagreements() {
  const auto bits_of_other = [](Other it) {
    std::uint16_t bits;
    std::memcpy(&bits, &it, sizeof(bits));
    return bits;
  };
  std::size_t found = 0;
  const auto encode = [&](float value) {
    const T mine{value};
    const auto its = static_cast<Other>(value);
    if (std::isnan(value))
      found += !std::isnan(static_cast<float>(mine)) || !std::isnan(static_cast<float>(its));
    else
      found += mine.bits != bits_of_other(its);
  };
  for (std::uint32_t bits = 0; bits < patterns; ++bits) {
    const T mine = with_bits<T>(bits);
    Other its;
    std::memcpy(static_cast<void*>(&its), &mine.bits, sizeof(its));
    const auto a = static_cast<float>(mine);
    const auto b = static_cast<float>(its);
    found += std::isnan(a) ? !std::isnan(b) : bits_of(a) != bits_of(b);
  }
  for_each_boundary<T>(encode);
  test::random_bits random{2};
  for (int i = 0; i < 1'000'000; ++i) encode(random_bits_near<T>(random));
  return found;
}

template <class T>
std::partial_ordering compared(float a, float b) {
  return T{a} <=> T{b};
}

enum class color : std::uint16_t { red, green };
struct two_bytes {
  std::uint8_t a, b;
};
struct only_to_float {
  std::uint16_t bits;
  explicit operator float() const;
};
struct wide_half {
  std::uint32_t bits;
  explicit wide_half(float);
  explicit operator float() const;
};
struct someones_half {
  std::uint16_t bits;
  explicit someones_half(float);
  explicit operator float() const;
};

}  // namespace

TEST_CASE_TEMPLATE("every bit pattern means what IEEE 754 says", T, allfold::half,
                   allfold::bfloat16) {
  std::size_t different = 0;
  for (std::uint32_t bits = 0; bits < patterns; ++bits)
    different +=
        bits_of(static_cast<float>(with_bits<T>(bits))) != bits_of(meaning(format_of<T>, bits));
  CHECK(different == 0);
}

TEST_CASE_TEMPLATE("every number comes back from float", T, allfold::half, allfold::bfloat16) {
  std::size_t different = 0, nans = 0;
  for (std::uint32_t bits = 0; bits < patterns; ++bits) {
    const auto wide = static_cast<float>(with_bits<T>(bits));
    const T back{wide};
    if (std::isnan(wide)) {
      ++nans;
      different += !std::isnan(static_cast<float>(back)) || ((back.bits ^ bits) & 0x8000u) != 0;
    } else {
      different += back.bits != bits;
    }
  }
  CHECK(different == 0);
  CHECK(nans == 2u * ((1u << format_of<T>.mantissa_bits) - 1));
}

TEST_CASE_TEMPLATE("rounding goes to the nearest, to even on a tie", T, allfold::half,
                   allfold::bfloat16) {
  std::size_t wrong = 0, tried = 0;
  for_each_boundary<T>([&](float value) {
    ++tried;
    wrong += !rounds_rightly<T>(value);
  });
  CHECK(wrong == 0);
  CHECK(tried > 300'000);
}

TEST_CASE_TEMPLATE("random floats round rightly", T, allfold::half, allfold::bfloat16) {
  test::random_bits random{1};
  std::size_t wrong = 0;
  for (int i = 0; i < 1'000'000; ++i) wrong += !rounds_rightly<T>(random_bits_near<T>(random));
  CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("NaN stays NaN with its sign, wherever its payload is", T, allfold::half,
                   allfold::bfloat16) {
  for (std::uint32_t bit = 0; bit < 23; ++bit)
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      CAPTURE(bit);
      const T it{from_bits(sign | 0x7f800000u | (1u << bit))};
      CHECK(std::isnan(static_cast<float>(it)));
      CHECK(std::signbit(static_cast<float>(it)) == (sign != 0));
    }
  CHECK(rounds_rightly<T>(from_bits(0x7fffffffu)));
  CHECK(rounds_rightly<T>(from_bits(0xffffffffu)));
}

TEST_CASE("well-known numbers") {
  CHECK(allfold::half{1.0f}.bits == 0x3c00);
  CHECK(allfold::half{-2.0f}.bits == 0xc000);
  CHECK(allfold::half{65504.0f}.bits == 0x7bff);                        // the greatest
  CHECK(allfold::half{std::nextafter(65520.0f, 0.0f)}.bits == 0x7bff);  // just not out of reach
  CHECK(allfold::half{65520.0f}.bits == 0x7c00);                        // a tie, to infinity
  CHECK(allfold::half{std::numeric_limits<float>::max()}.bits == 0x7c00);
  CHECK(allfold::half{-std::numeric_limits<float>::infinity()}.bits == 0xfc00);
  CHECK(allfold::half{0x1p-14f}.bits == 0x0400);      // the smallest normal one
  CHECK(allfold::half{0x1.ff8p-15f}.bits == 0x03ff);  // the greatest subnormal one
  CHECK(allfold::half{0x1.ffcp-15f}.bits == 0x0400);  // a tie, to the normal one
  CHECK(allfold::half{0x1p-24f}.bits == 0x0001);      // the smallest
  CHECK(allfold::half{0x1p-25f}.bits == 0x0000);      // a tie, to zero
  CHECK(allfold::half{std::nextafter(0x1p-25f, 1.0f)}.bits == 0x0001);
  CHECK(allfold::half{-0x1p-149f}.bits == 0x8000);
  CHECK(allfold::half{-0.0f}.bits == 0x8000);
  CHECK(allfold::half{}.bits == 0);

  CHECK(allfold::bfloat16{1.0f}.bits == 0x3f80);
  CHECK(allfold::bfloat16{0x1.01p0f}.bits == 0x3f80);    // a tie, down to even
  CHECK(allfold::bfloat16{0x1.03p0f}.bits == 0x3f82);    // a tie, up to even
  CHECK(allfold::bfloat16{0x1.fep127f}.bits == 0x7f7f);  // the greatest
  CHECK(allfold::bfloat16{std::numeric_limits<float>::max()}.bits == 0x7f80);
  CHECK(allfold::bfloat16{from_bits(0x7f800001u)}.bits == 0x7fc0);  // NaN, not infinity
  CHECK(allfold::bfloat16{0x1p-149f}.bits == 0x0000);
  CHECK(allfold::bfloat16{0x1p-133f}.bits == 0x0001);  // the smallest
  CHECK(allfold::bfloat16{-0.0f}.bits == 0x8000);
  CHECK(allfold::bfloat16{}.bits == 0);
}

TEST_CASE("conversions are there at compile time") {
  static_assert(allfold::half{1.5f}.bits == 0x3e00 &&
                static_cast<float>(allfold::half{1.5f}) == 1.5f);
  static_assert(allfold::half{0x1p-24f}.bits == 1 &&
                static_cast<float>(allfold::half{0x1p-24f}) == 0x1p-24f);
  static_assert(allfold::bfloat16{1.5f}.bits == 0x3fc0 &&
                static_cast<float>(allfold::bfloat16{1.5f}) == 1.5f);
  static_assert(allfold::half{1.0f} < allfold::half{2.0f} &&
                allfold::bfloat16{-1.0f} < allfold::bfloat16{0.0f});
  static_assert(!std::is_convertible_v<float, allfold::half> &&
                !std::is_convertible_v<allfold::half, float>);
  static_assert(!std::is_convertible_v<float, allfold::bfloat16> &&
                !std::is_convertible_v<allfold::bfloat16, float>);
  static_assert(std::is_trivially_copyable_v<allfold::half> &&
                std::is_trivially_copyable_v<allfold::bfloat16>);
  static_assert(sizeof(allfold::half) == 2 && sizeof(allfold::bfloat16) == 2);
}

TEST_CASE_TEMPLATE("comparisons are those of numbers", T, allfold::half, allfold::bfloat16) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(T{0.0f} == T{-0.0f});
  CHECK(T{1.0f} != T{-1.0f});
  CHECK(T{nan} != T{nan});
  CHECK((compared<T>(0.0f, -0.0f) == std::partial_ordering::equivalent));
  CHECK((compared<T>(-1.0f, 1.0f) == std::partial_ordering::less));
  CHECK((compared<T>(-1.0f, -2.0f) == std::partial_ordering::greater));
  CHECK((compared<T>(infinity, 1000.0f) == std::partial_ordering::greater));
  CHECK((compared<T>(nan, 1.0f) == std::partial_ordering::unordered));
  CHECK(!(T{nan} < T{1.0f}));
  CHECK(!(T{nan} >= T{1.0f}));
}

TEST_CASE("the compiler's own types agree") {
#if TEST_HAS_FLOAT16
  CHECK(disagreements<allfold::half, test::float16>() == 0);
#else
  MESSAGE("not tested: this compiler has no _Float16");
#endif
#if TEST_HAS_BF16
  CHECK(disagreements<allfold::bfloat16, test::bf16>() == 0);
#else
  MESSAGE("not tested: this compiler has no __bf16 that it can convert");
#endif
}

TEST_CASE("CUDA's types agree") {
#if TEST_HAS_CUDA_TYPES
  CHECK(disagreements<allfold::half, __half>() == 0);
  CHECK(disagreements<allfold::bfloat16, __nv_bfloat16>() == 0);
#else
  MESSAGE("not tested: no cuda_fp16.h is in the include path");
#endif
}

TEST_CASE("what counts as a 16-bit float") {
  static_assert(allfold::half_precision<allfold::half> &&
                allfold::half_precision<allfold::bfloat16>);
  static_assert(allfold::half_precision<someones_half>);
  test::for_each(test::half_types{}, [](auto element) {
    static_assert(allfold::half_precision<typename decltype(element)::of>);
  });
  static_assert(!allfold::half_precision<short> && !allfold::half_precision<unsigned short>);
  static_assert(!allfold::half_precision<char16_t> && !allfold::half_precision<float>);
  static_assert(!allfold::half_precision<two_bytes>);
  static_assert(!allfold::half_precision<wide_half>);
}

TEST_CASE("an enumeration is no float, though it can be cast to one") {
  CHECK(!allfold::half_precision<color>);
}

TEST_CASE("a struct without a constructor is no float, though it can be cast to one") {
  CHECK(!allfold::half_precision<only_to_float>);
}
