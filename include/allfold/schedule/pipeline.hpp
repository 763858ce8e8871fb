// In which order a rank takes its steps when the chunks are cut into pieces.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold {

/// How many pieces later than its own the step `index` of a schedule is taken; 0 unless it says so.
/// A step that waits for a round trip asks for a lag, so that other pieces are on their way
/// meanwhile.
template <class Schedule>
ALLFOLD_HOST_DEVICE constexpr int lag_of(const Schedule& plan, int size, int index) {
  if constexpr (requires { plan.lag(size, index); }) {
    return plan.lag(size, index);
  } else {
    return 0;
  }
}

/// Runs a schedule over `pieces` pieces of every chunk, one after the other, software-pipelined.
///
/// The turns 0, 1, … of all ranks correspond: turn t belongs to step t % steps of piece
/// t / steps − lag(step), and is void where there is no such piece. A rank's progress after turn t
/// is t + 1, so that "step s of piece p is complete" is one comparison with one counter.
/// Pieces touch disjoint elements: what is proven for one piece holds for all, and only freedom
/// from deadlock depends on their order.
template <class Schedule>
class pipeline {
 public:
  /// For `size` ranks and `pieces` >= 1 pieces.
  ALLFOLD_HOST_DEVICE constexpr pipeline(const Schedule& plan, int size, int pieces)
      : plan_{plan}, size_{size}, pieces_{pieces}, steps_{plan.steps(size)} {
    for (int index = 0; index < steps_; ++index) {
      const int lag = lag_of(plan_, size_, index);
      longest_lag_ = lag > longest_lag_ ? lag : longest_lag_;
    }
  }

  /// The number of turns, the same on every rank.
  ALLFOLD_HOST_DEVICE constexpr std::uint64_t turns() const {
    return static_cast<std::uint64_t>(steps_) * static_cast<std::uint64_t>(rounds());
  }
  /// Turns come in rounds: turn round · steps + index is the turn of step `index`.
  ALLFOLD_HOST_DEVICE constexpr int rounds() const {
    return steps_ == 0 ? 0 : pieces_ + longest_lag_;
  }
  /// The progress of a rank that has taken the turn of step `index` in a round.
  ALLFOLD_HOST_DEVICE constexpr std::uint64_t progress_in(int round, int index) const {
    return static_cast<std::uint64_t>(round) * static_cast<std::uint64_t>(steps_) +
           static_cast<std::uint64_t>(index) + 1;
  }
  /// The step that a turn belongs to.
  ALLFOLD_HOST_DEVICE constexpr int step_of(std::uint64_t turn) const {
    return static_cast<int>(turn % static_cast<std::uint64_t>(steps_));
  }
  /// The piece that a turn belongs to; the turn is void unless `is_live(piece)`.
  ALLFOLD_HOST_DEVICE constexpr int piece_of(std::uint64_t turn) const {
    return piece_of(static_cast<int>(turn / static_cast<std::uint64_t>(steps_)), step_of(turn));
  }
  /// The same for turn round · steps + index.
  ALLFOLD_HOST_DEVICE constexpr int piece_of(int round, int index) const {
    return round - lag_of(plan_, size_, index);
  }
  ALLFOLD_HOST_DEVICE constexpr bool is_live(int piece) const {
    return 0 <= piece && piece < pieces_;
  }
  /// The progress of a rank that has completed step `index` of piece `piece`.
  ALLFOLD_HOST_DEVICE constexpr std::uint64_t progress_after(int index, int piece) const {
    return progress_in(piece + lag_of(plan_, size_, index), index);
  }
  ALLFOLD_HOST_DEVICE constexpr int pieces() const { return pieces_; }
  ALLFOLD_HOST_DEVICE constexpr int steps() const { return steps_; }

 private:
  Schedule plan_;
  int size_;
  int pieces_;
  int steps_;
  int longest_lag_ = 0;
};

}  // namespace allfold
