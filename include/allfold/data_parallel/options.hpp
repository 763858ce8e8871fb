// What a replica may be told when it is made.
#pragma once

#include <cstdint>

namespace allfold {

/// How gradients of several ranks are combined.
enum class scale : std::uint8_t {
  mean_over_ranks,    ///< the sum divided by the number of ranks; PyTorch's
  mean_over_samples,  ///< weighted by the samples that each rank gave to `backward`
  sum                 ///< the bare sum
};

/// Whether gradients are reduced while the backward pass goes on.
enum class overlap : std::uint8_t {
  automatic,  ///< if it takes no thread, or the process may use two cores for each rank
  by_thread,  ///< by a thread of each rank, over a communicator of its own; where collectives are
              ///< but given to a device, by the rank's own thread
  none        ///< after the backward pass, by the rank's own thread
};

/// What becomes of a parameter whose gradient was not ready at the end of a backward pass.
enum class unused : std::uint8_t {
  error,  ///< every rank gets a usage_error that names the rank and the parameter
  zero,   ///< this rank's gradient is set to zero, and reduced; host only
  keep    ///< the same, but where no rank used the parameter all keep what they had
};

/// The same on every rank.
struct data_parallel_options {
  allfold::scale scale = allfold::scale::mean_over_ranks;
  allfold::overlap overlap = allfold::overlap::automatic;
  allfold::unused unused = allfold::unused::error;
  /// Rank 0's buffers to all, before each backward pass; under local_sgd whenever parameters are
  /// averaged.
  bool broadcast_buffers = true;
  /// Once, in the order in which rank 0's gradients were ready. Not with a compression, which keeps
  /// something for each stretch of gradients.
  bool rebuild_buckets = false;
};

}  // namespace allfold
