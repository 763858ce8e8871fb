// The few numbers that decide how a collective is spread over a GPU and which protocol carries it.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold::cuda {

/// Where one way of doing it becomes faster than the other. All ranks must use the same numbers.
struct tuning {
  /// Messages up to so many bytes go through slots, in one hop.
  static constexpr std::size_t shot_bytes = 16 * 1024;
  /// Blocks of a rank that a shot is spread over; the same for all shots, see device::lane_shot.
  static constexpr int shot_lanes = 4;
  /// Bytes that make another block worth its while: each thread has four packets in flight.
  static constexpr std::size_t bytes_per_lane = 32 * 1024;
  /// At most so many blocks a rank.
  static constexpr int most_lanes = 256;
  /// A companion's collectives, which run beside an engine's own kernels, are spread over one in so
  /// many of the blocks that a GPU holds.
  static constexpr int companion_share = 4;
  /// What is in flight on one GPU is to fit its L2 cache.
  static constexpr std::size_t bytes_in_flight = std::size_t{24} << 20;
  /// The bounds of a chunk of a piece: below, waiting costs more than moving.
  static constexpr std::size_t shortest_piece = 128 * 1024, longest_piece = 4 << 20;
};

/// How long a chunk of a piece is, if `ranks` ranks share a GPU and cut pieces into `chunks`
/// chunks.
constexpr std::size_t piece_bytes_for(int ranks, int chunks) {
  const std::size_t fits = tuning::bytes_in_flight /
                           (static_cast<std::size_t>(ranks) * static_cast<std::size_t>(chunks));
  return fits < tuning::shortest_piece  ? tuning::shortest_piece
         : fits > tuning::longest_piece ? tuning::longest_piece
                                        : fits;
}

/// How many lanes carry `bytes` bytes, if there may be `most`.
constexpr int lanes_for(std::size_t bytes, int most) {
  const std::size_t wanted = (bytes + tuning::bytes_per_lane - 1) / tuning::bytes_per_lane;
  return wanted < 1 ? 1 : wanted < static_cast<std::size_t>(most) ? static_cast<int>(wanted) : most;
}

/// How many of a GPU's blocks collectives may take, of which `ranks` ranks need one each at least.
constexpr int blocks_for(bool is_companion, int blocks, int ranks) {
  if (!is_companion) return blocks;
  const int share = blocks / tuning::companion_share;
  return share < ranks ? ranks : share;
}

}  // namespace allfold::cuda
