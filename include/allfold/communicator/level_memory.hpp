// Memory that one rank keeps from call to call.
#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>

namespace allfold::nodes {

/// Memory beginning at a cache line; as a communicator allocates it, so that its ranks reach it
/// without a copy, or else this process's own.
template <class World>
class level_memory {
 public:
  /// At least `bytes` bytes; undefined. What was given out before is gone if there were fewer.
  std::byte* of(World& world, std::size_t bytes) {
    constexpr std::size_t line_bytes = sizeof(line);
    const std::size_t lines = (bytes + line_bytes - 1) / line_bytes;
    if (lines > lines_.size()) {
      lines_ = {};  // first, so that the two need not fit side by side
      lines_ = made(world, lines);
    }
    return reinterpret_cast<std::byte*>(lines_.data());
  }

 private:
  struct alignas(64) line {
    std::byte bytes[64];
  };
  static auto made([[maybe_unused]] World& world, std::size_t count) {
    if constexpr (requires { world.template allocate<line>(count); })
      return world.template allocate<line>(count);
    else
      return std::vector<line>(count);
  }

  decltype(made(std::declval<World&>(), 0)) lines_;
};

}  // namespace allfold::nodes
