// A rank that has nothing to carry out, such as all but one under `primary`: one block stands in
// for all of its lanes, a thread each, so that the ranks at work have the device to themselves.
#pragma once

#include <allfold/execution/device.hpp>

namespace allfold::device {

/// True if a rank only enters a schedule, and waits to leave it.
template <class Schedule>
ALLFOLD_HOST_DEVICE constexpr bool rests(const Schedule& plan, int rank, int size) {
  for (int index = 0; index < plan.steps(size); ++index)
    if (!plan.at(rank, size, index).idle()) return false;
  return true;
}

/// True if ranks may rest in a schedule of this type. Kernels for others need not know how.
template <class Schedule>
inline constexpr bool has_resting_ranks = [] {
  for (int size = 2; size <= 8; ++size)
    for (int rank = 0; rank < size; ++rank)
      if (rests(Schedule{}, rank, size)) return true;
  return false;
}();

/// All lanes of a rank that rests. Every thread of the block makes one and calls it. The ranks at
/// work see what they would see of a block for each lane.
template <class Schedule, class Operation, lane Lane, memory_access Access>
class rank_rest {
 public:
  ALLFOLD_HOST_DEVICE rank_rest(Lane& threads, const task<Schedule, Operation>& work,
                                const group& all, const place& here)
      : threads_{threads},
        shared_{threads.memory()},
        work_{work},
        all_{all},
        watch_{all, shared_.here, work.call},
        line_{work.plan, all.size, work.parts.pieces()} {
    if (threads_.index() == 0) {
      shared_.here = here;
      shared_.exit = work_.plan.exit(here.mine.rank, all_.size);
    }
    threads_.sync();
  }

  /// False if the collective has failed; then the group's report says why, and calls this block 0.
  ALLFOLD_HOST_DEVICE bool operator()() const {
    bool good = true;
    ALLFOLD_ROLLED
    for (int lane = threads_.index(); good && lane < shared_.here.lanes; lane += threads_.count())
      good = pass(lane);
    return good;
  }

 private:
  ALLFOLD_HOST_DEVICE int rank() const { return shared_.here.mine.rank; }

  ALLFOLD_HOST_DEVICE bool pass(int lane) const {
    lane_state& own = all_.states[rank()][lane];
    const std::uint64_t number = Access::relaxed_load(&own.completed);
    const std::uint64_t base = Access::relaxed_load(&own.progress);
    const std::uint64_t needed = completed_before(number);
    ALLFOLD_ROLLED
    for (int peer = 0; needed > 0 && peer < all_.size; ++peer)
      if (!watch_.until_reached(&all_.states[peer][lane].completed, needed, peer, entered))
        return false;
    announce<Access>(own, number, work_.fingerprint, shared_.here.mine);
    if (line_.turns() > 0) Access::release(&own.progress, base + line_.turns());
    ALLFOLD_ROLLED
    for (const wait& each : shared_.exit) ALLFOLD_ROLLED
    for (int i = 0; i < each.who.count; ++i) {
      const int peer = each.who.at(i, all_.size);
      if (peer != rank() && !reach(all_.states[peer][lane], peer, each.step, number, base))
        return false;
    }
    Access::release(&own.completed, number + 1);
    return true;
  }
  ALLFOLD_HOST_DEVICE bool reach(lane_state& its, int peer, int index, std::uint64_t number,
                                 std::uint64_t base) const {
    if (!watch_.until_entered(its, number, work_.fingerprint, peer)) return false;
    // The last piece's progress is the highest, and stands for all of them.
    const int piece = work_.parts.pieces() - 1;
    return index == entered ||
           watch_.until_reached(&its.progress, base + line_.progress_after(index, piece), peer,
                                index);
  }

  Lane& threads_;
  block_memory& shared_;
  const task<Schedule, Operation>& work_;
  const group& all_;
  watch<Access> watch_;
  pipeline<Schedule> line_;
};

}  // namespace allfold::device
