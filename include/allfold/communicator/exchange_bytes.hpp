// What ranks that are processes need to find each other.
#pragma once

#include <cstddef>
#include <functional>

namespace allfold {

/// Gives every rank all ranks' bytes: copies `size` bytes of each, by rank, to `all`. Every rank
/// calls it in the same order with the same size, and it returns when all have. Made by `connect`,
/// or of whatever the processes are connected by already, such as MPI_Allgather.
using exchange_bytes = std::function<void(const void* mine, std::size_t size, void* all)>;

}  // namespace allfold
