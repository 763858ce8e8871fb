// Elements side by side in memory: which ranges hold them, and in whose memory.
#pragma once

#include <allfold/error.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <type_traits>

namespace allfold {

/// Whose memory it is: who can read and write there.
enum class memory_space : std::uint8_t { host, device };

/// `size` elements from `data` on, in the memory that the type says. std::span's counterpart where
/// it matters that a host thread can't follow the pointer.
template <class T, memory_space Space>
class memory_span {
 public:
  static constexpr memory_space space = Space;

  constexpr memory_span() = default;
  constexpr memory_span(T* data, std::size_t size) : data_{data}, size_{size} {}
  /// From elements that may be written to elements that may not.
  template <class U>
  requires std::same_as<const U, T>
  constexpr memory_span(memory_span<U, Space> other) : data_{other.data()}, size_{other.size()} {}

  constexpr T* data() const { return data_; }
  constexpr std::size_t size() const { return size_; }
  constexpr std::size_t size_bytes() const { return size_ * sizeof(T); }
  constexpr bool empty() const { return size_ == 0; }
  /// `count` elements from element `begin` on.
  constexpr memory_span subspan(std::size_t begin, std::size_t count) const {
    return {data_ + begin, count};
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Elements in a device's memory.
template <class T>
using device_span = memory_span<T, memory_space::device>;

/// Elements as engines get them: std::span in host memory, device_span in a device's.
template <class T, memory_space Space>
using span_in =
    std::conditional_t<Space == memory_space::host, std::span<T>, memory_span<T, Space>>;

/// How the library reaches a range's elements: by std::data and std::size, in host memory unless
/// `Range::space` says otherwise. Adapters specialise it for other containers; `Range` is without
/// reference, and may be const.
template <class Range>
struct range_access {
  static constexpr memory_space space = [] {
    if constexpr (requires { memory_space{Range::space}; })
      return Range::space;
    else
      return memory_space::host;
  }();
  template <class R>  // a template, so that it does no harm where there is no such range
  static constexpr auto data(R& range) -> decltype(std::data(range)) {
    return std::data(range);
  }
  template <class R>
  static constexpr auto size(R& range) -> decltype(std::size(range)) {
    return std::size(range);
  }
};

namespace detail {

/// A matrix, or a part of one, that says how far its elements are from each other, as Eigen's do.
/// Whether they lie side by side is not in its type.
template <class Range>
concept strided = requires(Range& range) {
  { range.innerStride() } -> std::integral;
  { range.outerStride() } -> std::integral;
  { range.innerSize() } -> std::integral;
  { range.outerSize() } -> std::integral;
};

template <strided Matrix>
constexpr void require_side_by_side(Matrix& it) {
  const auto inner = it.innerSize(), outer = it.outerSize();
  const bool within = inner <= 1 || it.innerStride() == 1;
  const bool between = outer <= 1 || it.outerStride() == inner;
  if (inner != 0 && outer != 0 && !(within && between))
    throw usage_error{
        "the elements of a matrix of " + std::to_string(inner) + " x " + std::to_string(outer) +
        " (inner x outer size) do not lie side by side: its " + "strides are " +
        std::to_string(it.innerStride()) + " and " + std::to_string(it.outerStride())};
}

}  // namespace detail

/// Elements side by side in memory: std::vector, std::array, std::span, a C array, device_span,
/// Eigen's matrices, …
template <class Range>
concept contiguous = requires(std::remove_reference_t<Range>& range) {
  requires std::is_pointer_v<decltype(range_access<std::remove_reference_t<Range>>::data(range))>;
  { range_access<std::remove_reference_t<Range>>::size(range) } -> std::convertible_to<std::size_t>;
};

/// A contiguous range's elements as a memory_span. Throws usage_error for a part of a matrix, or a
/// map, whose strides leave gaps.
template <contiguous Range>
constexpr auto span_of(Range&& range) {
  if constexpr (detail::strided<std::remove_reference_t<Range>>)
    detail::require_side_by_side(range);
  using access = range_access<std::remove_reference_t<Range>>;
  using element = std::remove_pointer_t<decltype(access::data(range))>;
  return memory_span<element, access::space>{access::data(range),
                                             static_cast<std::size_t>(access::size(range))};
}

/// The element type of a contiguous range, without const.
template <contiguous Range>
using element_of =
    std::remove_const_t<std::remove_pointer_t<decltype(span_of(std::declval<Range&>()).data())>>;

}  // namespace allfold
