// What the library needs of a communicator.
#pragma once

#include <allfold/elements.hpp>
#include <concepts>
#include <string>
#include <type_traits>

namespace allfold {

/// A group of ranks as one of them sees it. `rank()` is in [0, size()); `abort(why)` fails the
/// group on every rank.
template <class T>
concept communicator = requires(std::remove_cvref_t<T>& world) {
  { world.rank() } -> std::same_as<int>;
  { world.size() } -> std::same_as<int>;
  { std::remove_cvref_t<T>::space } -> std::convertible_to<memory_space>;
  world.abort(std::string{});
};

}  // namespace allfold
