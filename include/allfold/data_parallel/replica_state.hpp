// What a replica says of itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace allfold {

/// Bytes of one rank's memory.
struct gradient_memory {
  std::size_t gradients = 0;       ///< all of them, wherever they lie
  std::size_t of_replica = 0;      ///< of these in memory of the replica's own; see bind_gradients
  std::size_t of_compression = 0;  ///< residuals and what else it says that it keeps
};

/// What a replica remembers from step to step. The same on every rank.
struct replica_state {
  std::uint64_t steps = 0;
  std::vector<std::uint64_t> bucket_order;  ///< of the gradients, if buckets have been rebuilt
};

}  // namespace allfold
