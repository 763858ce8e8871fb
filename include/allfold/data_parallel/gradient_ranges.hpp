// Gradients as an optimizer sees them: how those who scale and measure them reach their elements.
#pragma once

#include <allfold/data_parallel/model.hpp>
#include <allfold/reduction.hpp>
#include <concepts>
#include <source_location>
#include <string>

namespace allfold {

namespace detail {

/// The element type of a range of contiguous ranges.
template <class Ranges>
using range_element = element_of<range_item<std::remove_reference_t<Ranges>>>;

/// What is measured in double without loss, and scaled in its accumulator.
template <class T>
concept real_number = std::same_as<T, float> || std::same_as<T, double> || half_precision<T>;

}  // namespace detail

/// Gradients in host memory: a range of contiguous ranges of float, double or a 16-bit
/// floating-point type, such as a model's `gradients()`. It is gone through more than once.
template <class Ranges>
concept gradient_ranges =
    detail::range_of_contiguous<std::remove_reference_t<Ranges>> &&
    detail::real_number<detail::range_element<Ranges>> &&
    range_access<detail::range_item<std::remove_reference_t<Ranges>>>::space == memory_space::host;

namespace detail {

template <real_number T>
constexpr double to_double(T value) {
  return static_cast<double>(static_cast<accumulator<T>>(value));
}

/// Multiplies every element in accumulator<T>, and rounds it once.
template <gradient_ranges Gradients>
void multiply_gradients(Gradients& gradients, double factor) {
  static_assert(is_writable<range_item<Gradients>>,
                "allfold: gradients are scaled in place, so they can't be const");
  using element = range_element<Gradients>;
  using wide = accumulator<element>;
  const auto by = static_cast<wide>(factor);
  for (auto&& each : gradients) {
    const auto elements = span_of(each);
    for (std::size_t i = 0; i < elements.size(); ++i)
      elements.data()[i] = static_cast<element>(static_cast<wide>(elements.data()[i]) * by);
  }
}

/// Where a function was called, and by which rank if it knows of ranks, for its errors.
struct calling {
  const char* function;
  std::source_location where;
  int rank = -1;

  std::string at_place() const { return std::string{function} + " at " + place_of(where); }
  /// Throws a usage_error on this rank alone: what is wrong is its own affair, or every rank comes
  /// to the same conclusion.
  [[noreturn]] void refuse(const std::string& why) const {
    const std::string who = rank < 0 ? "" : "rank " + std::to_string(rank) + ", ";
    throw usage_error{"allfold: " + who + at_place() + ": " + why};
  }
  /// The same, and tells every other rank.
  template <class World>
  [[noreturn]] void give_up(World& world, const std::string& why) const {
    world.abort(at_place() + ": " + why);
    refuse(why);
  }
};

}  // namespace detail
}  // namespace allfold
