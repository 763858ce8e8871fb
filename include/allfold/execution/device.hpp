// Runs any schedule on a device: what one block of threads does, lane by lane. The counterpart of
// host.hpp; cuda.cuh makes kernels of it.
#pragma once

#include <allfold/execution/block_fold.hpp>
#include <allfold/schedule/partition.hpp>
#include <allfold/schedule/pipeline.hpp>

namespace allfold::device {

/// A collective as all ranks and lanes run it.
template <class Schedule, class Operation>
struct task {
  Schedule plan;
  Operation operation;
  partition parts;  ///< its counts, where it has some, are these:
  std::size_t counts[max_ranks];
  std::size_t granule;        ///< lanes' slices begin at multiples of so many elements
  std::uint64_t fingerprint;  ///< what all ranks must agree on
};

namespace detail {

/// Calls visit(i) for those i of `count` that fall to a thread, if item 0 falls to thread `first`.
template <class Visit>
ALLFOLD_HOST_DEVICE void for_own(int first, int count, int index, int threads, Visit visit) {
  for (int i = (index + threads - first % threads) % threads; i < count; i += threads) visit(i);
}

}  // namespace detail

/// One lane's walk through a schedule. Every thread of the block makes one and calls it; all make
/// the same way, sharing waits and elements among them.
///
/// Ordering: whoever waits acquires, then the block synchronises; before publishing the block
/// synchronises, then one thread releases. So what all threads of a rank's lane wrote before it
/// published is visible to all threads of the lanes that waited for that.
template <class T, class Schedule, class Operation, lane Lane, memory_access Access>
class lane_run {
 public:
  ALLFOLD_HOST_DEVICE lane_run(Lane& threads, const task<Schedule, Operation>& work,
                               const group& all, const place& here)
      : threads_{threads},
        work_{work},
        parts_{work.parts.counts() == nullptr ? work.parts
                                              : work.parts.with_counts_at(work.counts)},
        all_{all},
        here_{here},
        own_{all.states[here.mine.rank][here.lane]},
        number_{Access::relaxed_load(&own_.completed)},
        base_{Access::relaxed_load(&own_.progress)},
        watch_{all, here, number_},
        line_{work.plan, all.size, work.parts.pieces()} {}

  /// False if the collective has failed; then the group's report says why.
  ALLFOLD_HOST_DEVICE bool operator()() {
    if (!enter()) return false;
    const std::uint64_t turns = line_.turns();
    std::uint64_t turn = 0;
    for (int round = 0; turn < turns; ++round)
      for (int index = 0; index < line_.steps(); ++index) {
        ++turn;
        const int piece = line_.piece_of(round, index);
        if (!line_.is_live(piece)) continue;
        const step now = work_.plan.at(rank(), all_.size, index);
        if (now.idle()) continue;
        if (!await(now.waits, piece)) return false;
        if (!now.sources.empty()) carry_out(now, piece);
        publish(turn);
      }
    if (turns > 0) publish(turns);
    // The last piece's progress is the highest, and stands for all of them.
    if (!await(work_.plan.exit(rank(), all_.size), work_.parts.pieces() - 1)) return false;
    if (threads_.index() == 0) Access::release(&own_.completed, number_ + 1);
    return true;
  }

 private:
  ALLFOLD_HOST_DEVICE int rank() const { return here_.mine.rank; }
  ALLFOLD_HOST_DEVICE lane_state& state_of(int peer) const { return all_.states[peer][here_.lane]; }
  ALLFOLD_HOST_DEVICE post& post_of(int peer) const {
    return state_of(peer).posts[number_ % window];
  }

  /// Shows the others that this lane has entered, once they need the post no more that it writes.
  ALLFOLD_HOST_DEVICE bool enter() {
    constexpr std::uint64_t stride = window / 2;
    if (number_ % stride == 0 && number_ >= window) {
      bool reached = true;
      detail::for_own(0, all_.size, threads_.index(), threads_.count(), [&](int peer) {
        reached = reached && watch_.until_reached(&state_of(peer).completed, number_ + 1 - stride,
                                                  peer, entered);
      });
      if (threads_.any(!reached)) return false;
    } else {
      threads_.sync();  // all threads have read the counters
    }
    if (threads_.index() == 0) {
      post& own = post_of(rank());
      own.fingerprint = work_.fingerprint;
      own.input = here_.mine.input;
      own.output = here_.mine.output;
      own.scratch = here_.mine.scratch;
      Access::release(&own.stamp, number_ + 1);
    }
    return true;
  }

  ALLFOLD_HOST_DEVICE bool await(const waits& list, int piece) {
    if (list.empty()) return true;
    bool reached = true;
    int first = 0;
    ALLFOLD_UNROLL
    for (int k = 0; k < waits_in_a_list; ++k) {
      if (k >= list.count) break;
      const wait& each = list.items[k];
      detail::for_own(first, each.who.count, threads_.index(), threads_.count(), [&](int i) {
        const int peer = each.who.at(i, all_.size);
        reached = reached && (peer == rank() || reach(peer, each.step, piece));
      });
      first += each.who.count;
    }
    return !threads_.any(!reached);
  }
  ALLFOLD_HOST_DEVICE bool reach(int peer, int index, int piece) {
    const std::uint64_t bit = std::uint64_t{1} << peer;
    if ((met_ & bit) == 0) {
      post& said = post_of(peer);
      if (!watch_.until_reached(&said.stamp, number_ + 1, peer, entered)) return false;
      if (said.fingerprint != work_.fingerprint)
        return watch_.fail(failure_kind::mismatch, peer, entered);
      met_ |= bit;
    }
    return index == entered ||
           watch_.until_reached(&state_of(peer).progress,
                                base_ + line_.progress_after(index, piece), peer, index);
  }

  ALLFOLD_HOST_DEVICE void publish(std::uint64_t turns) {
    threads_.sync();
    if (threads_.index() == 0) Access::release(&own_.progress, base_ + turns);
  }

  /// Chunk by chunk, because a lane's slice of two chunks is not the two slices side by side.
  ALLFOLD_HOST_DEVICE void carry_out(const step& now, int piece) {
    for (int i = 0; i < now.width; ++i) {
      const std::size_t elements = parts_.of(now.chunk + i, 1, piece).count;
      const std::size_t begin = part_begin(elements, here_.lanes, work_.granule, here_.lane);
      const std::size_t end = part_begin(elements, here_.lanes, work_.granule, here_.lane + 1);
      if (begin == end) continue;
      if (i > 0) threads_.sync();
      const int sources = locate(now.sources, 0, i, piece, begin);
      const int targets = locate(now.targets, sources, i, piece, begin);
      threads_.sync();
      const block_fold<T, Operation> fold{threads_.places(), sources, targets, work_.operation,
                                          now.completes ? all_.size : 0};
      fold(end - begin, threads_.index(), threads_.count());
    }
  }

  /// Writes the places of the operands' elements into shared memory, from number `first` on.
  template <int Most>
  ALLFOLD_HOST_DEVICE int locate(const few<operand, Most>& operands, int first, int i, int piece,
                                 std::size_t begin) {
    int number = first;
    ALLFOLD_UNROLL
    for (int k = 0; k < Most; ++k) {
      if (k >= operands.count) break;
      const operand& each = operands.items[k];
      const std::size_t bytes = (offset_of(each, i, piece) + begin) * sizeof(T);
      detail::for_own(number, each.who.count, threads_.index(), threads_.count(), [&](int j) {
        threads_.places()[number + j] = base_of(each.who.at(j, all_.size), each.where) + bytes;
      });
      number += each.who.count;
    }
    return number - first;
  }
  ALLFOLD_HOST_DEVICE std::byte* base_of(int peer, buffer where) const {
    if (peer == rank())
      return where == buffer::input    ? here_.mine.input
             : where == buffer::output ? here_.mine.output
                                       : here_.mine.scratch;
    const post& its = post_of(peer);
    return where == buffer::input ? its.input : where == buffer::output ? its.output : its.scratch;
  }
  ALLFOLD_HOST_DEVICE std::size_t offset_of(const operand& it, int i, int piece) const {
    if (holds_own_chunk(Schedule::kind, it.where)) return 0;
    if (it.where != buffer::scratch) return parts_.begin(it.chunk + i, piece);
    return static_cast<std::size_t>(it.chunk + i) * parts_.longest() + parts_.begin(0, piece);
  }

  static constexpr int waits_in_a_list = 3;

  Lane& threads_;
  const task<Schedule, Operation>& work_;
  partition parts_;
  const group& all_;
  const place& here_;
  lane_state& own_;
  std::uint64_t number_;
  std::uint64_t base_;
  watch<Access> watch_;
  pipeline<Schedule> line_;
  std::uint64_t met_ = 0;  ///< ranks that this thread has found to run the same collective
};

/// The number of elements that all slices' bounds are multiples of: a cache line of them.
template <class T>
inline constexpr std::size_t slice_granule = sizeof(T) >= 128 ? 1 : 128 / sizeof(T);

}  // namespace allfold::device
