// The operations that elements are folded with.
#pragma once

#include <allfold/half.hpp>
#include <concepts>
#include <type_traits>

namespace allfold {

namespace detail {

template <class T>
struct accumulator_of {
  using type = T;
};
template <half_precision T>
struct accumulator_of<T> {
  using type = float;
};

/// An unsigned type at least as wide as int, in which overflow wraps around.
template <class T>
using wrapping = std::common_type_t<std::make_unsigned_t<T>, unsigned>;

template <class T>
concept wraps = std::integral<T> && !std::same_as<T, bool>;

/// std::complex and its like: two numbers of their value_type.
template <class T>
concept complex_like = requires(const T& it) {
  typename T::value_type;
  it.real();
  it.imag();
  requires sizeof(T) == 2 * sizeof(typename T::value_type);
};
/// std::complex is no type for kernels, but its two numbers are.
template <complex_like T>
struct complex_parts {
  typename T::value_type real, imag;
};
template <complex_like T>
ALLFOLD_HOST_DEVICE constexpr complex_parts<T> parts_of(const T& value) {
  return __builtin_bit_cast(complex_parts<T>, value);
}
template <complex_like T>
ALLFOLD_HOST_DEVICE constexpr T complex_of(const complex_parts<T>& parts) {
  return __builtin_bit_cast(T, parts);
}
/// As mathematics has it; C++ also has rules for infinities.
template <complex_like T>
ALLFOLD_HOST_DEVICE constexpr T plain_product(const T& a, const T& b) {
  const auto x = parts_of(a), y = parts_of(b);
  return complex_of<T>({x.real * y.real - x.imag * y.imag, x.real * y.imag + x.imag * y.real});
}

}  // namespace detail

/// What elements of type T are folded in: float for 16-bit floating-point types, else T.
template <class T>
using accumulator = typename detail::accumulator_of<T>::type;

/// a + b. Integers wrap around; for bool: or.
struct sum {
  template <class T>
  ALLFOLD_HOST_DEVICE constexpr T operator()(const T& a, const T& b) const {
    if constexpr (detail::wraps<T>)
      return static_cast<T>(static_cast<detail::wrapping<T>>(a) +
                            static_cast<detail::wrapping<T>>(b));
    else if constexpr (detail::complex_like<T>)
      return detail::complex_of<T>({detail::parts_of(a).real + detail::parts_of(b).real,
                                    detail::parts_of(a).imag + detail::parts_of(b).imag});
    else
      return static_cast<T>(a + b);
  }
};

/// a · b. Integers wrap around; for bool: and. In kernels a product of infinite complex numbers may
/// be NaN.
struct product {
  template <class T>
  ALLFOLD_HOST_DEVICE constexpr T operator()(const T& a, const T& b) const {
    if constexpr (detail::wraps<T>)
      return static_cast<T>(static_cast<detail::wrapping<T>>(a) *
                            static_cast<detail::wrapping<T>>(b));
#if defined(__CUDA_ARCH__)
    else if constexpr (detail::complex_like<T>)
      return detail::plain_product(a, b);
#endif
    else
      return static_cast<T>(a * b);
  }
};

/// The smaller one, by <.
struct minimum {
  template <class T>
  ALLFOLD_HOST_DEVICE constexpr T operator()(const T& a, const T& b) const {
    static_assert(
        requires { b < a; }, "allfold: minimum needs an element type with <");
    return b < a ? b : a;
  }
};

/// The larger one, by <.
struct maximum {
  template <class T>
  ALLFOLD_HOST_DEVICE constexpr T operator()(const T& a, const T& b) const {
    static_assert(
        requires { a < b; }, "allfold: maximum needs an element type with <");
    return a < b ? b : a;
  }
};

/// The sum, divided by the number of ranks once all are folded; integers towards zero.
struct average : sum {
  template <class T>
  ALLFOLD_HOST_DEVICE constexpr T finish(const T& total, int ranks) const {
    if constexpr (std::is_same_v<T, bool>) {
      return total;  // whether any was true
    } else if constexpr (std::is_integral_v<T>) {
      using wide = std::common_type_t<T, int>;  // more ranks than a short T can count
      return static_cast<T>(static_cast<wide>(total) / static_cast<wide>(ranks));
    } else if constexpr (std::is_floating_point_v<T>) {
      return total / static_cast<T>(ranks);
    } else if constexpr (detail::complex_like<T>) {
      const auto divisor = static_cast<typename T::value_type>(ranks);
      const auto parts = detail::parts_of(total);
      return detail::complex_of<T>({parts.real / divisor, parts.imag / divisor});
    } else
      return static_cast<T>(total / ranks);
  }
};

/// An operation on elements of type T: associative, callable from several threads at once, with no
/// side effects. It may have `finish(total, ranks)`, applied once to each complete fold. Algorithms
/// other than `direct` and `primary` also fold in other than rank order: they need an operation
/// that commutes.
template <class Operation, class T>
concept operation_on = std::copy_constructible<Operation> &&
    requires(const Operation fold, const accumulator<T> a, const accumulator<T> b) {
  { fold(a, b) } -> std::convertible_to<accumulator<T>>;
};

}  // namespace allfold
