// Where each rank's bytes lie in memory that holds all ranks'.
#pragma once

#include <cstddef>
#include <span>

namespace allfold {

/// Where each rank's bytes lie in a buffer that holds all ranks'.
struct byte_layout {
  std::span<const std::size_t> counts;  ///< elements by rank; empty if all have `count`
  std::size_t count;
  std::size_t size;  ///< of an element

  std::size_t bytes(int rank) const {
    return size * (counts.empty() ? count : counts[static_cast<std::size_t>(rank)]);
  }
  std::size_t begin(int rank) const {
    if (counts.empty()) return size * count * static_cast<std::size_t>(rank);
    std::size_t sum = 0;
    for (int i = 0; i < rank; ++i) sum += bytes(i);
    return sum;
  }
};

}  // namespace allfold
