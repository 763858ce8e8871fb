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
  std::uint64_t call;         ///< what a failure report calls this collective
};

namespace detail {

/// Calls visit(i) for those i of `count` that fall to a thread, if item 0 falls to thread `first`.
template <class Visit>
ALLFOLD_HOST_DEVICE void for_own(int first, int count, int index, int threads, Visit visit) {
  ALLFOLD_ROLLED
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
        shared_{threads.memory()},
        work_{work},
        all_{all},
        watch_{all, shared_.here, work.call},
        line_{work.plan, all.size, work.parts.pieces()} {
    if (threads_.index() == 0) {
      shared_.here = here;
      shared_.parts =
          work.parts.counts() == nullptr ? work.parts : work.parts.with_counts_at(work.counts);
      shared_.number = Access::relaxed_load(&own().completed);
      shared_.base = Access::relaxed_load(&own().progress);
    }
    threads_.sync();
  }

  /// False if the collective has failed; then the group's report says why.
  ALLFOLD_HOST_DEVICE bool operator()() {
    if (!enter()) return false;
    ALLFOLD_ROLLED
    for (int round = 0; round < line_.rounds(); ++round) ALLFOLD_ROLLED
    for (int index = 0; index < line_.steps(); ++index) {
      const int piece = line_.piece_of(round, index);
      if (!line_.is_live(piece)) continue;
      const step& now = look_up(round, index);
      if (now.idle()) {
        threads_.sync();  // all have read it
        continue;
      }
      if (!await(now.waits, piece)) return false;
      if (!now.sources.empty()) carry_out(now, piece);
      publish(round, index);
    }
    return finish();
  }

 private:
  ALLFOLD_HOST_DEVICE const member& mine() const { return shared_.here.mine; }
  ALLFOLD_HOST_DEVICE int rank() const { return mine().rank; }
  ALLFOLD_HOST_DEVICE lane_state& own() const { return state_of(rank()); }
  ALLFOLD_HOST_DEVICE lane_state& state_of(int peer) const {
    return all_.states[peer][shared_.here.lane];
  }
  ALLFOLD_HOST_DEVICE post& post_of(int peer) const {
    return state_of(peer).posts[shared_.number % window];
  }

  /// Shows the others that this lane has entered, once they need the post no more that it writes.
  ALLFOLD_HOST_DEVICE bool enter() {
    const std::uint64_t needed = completed_before(shared_.number);
    if (needed > 0) {
      bool reached = true;
      detail::for_own(0, all_.size, threads_.index(), threads_.count(), [&](int peer) {
        reached = reached && watch_.until_reached(&state_of(peer).completed, needed, peer, entered);
      });
      if (threads_.any(!reached)) return false;
    }
    if (threads_.index() == 0) announce<Access>(own(), shared_.number, work_.fingerprint, mine());
    return true;
  }

  /// The step that is next. The one before may still be read meanwhile.
  ALLFOLD_HOST_DEVICE const step& look_up(int round, int index) {
    const int turn = round * line_.steps() + index;
    step& now = shared_.now[turn & 1];
    if (threads_.index() == 0) now = work_.plan.at(rank(), all_.size, index);
    threads_.sync();
    return now;
  }
  ALLFOLD_HOST_DEVICE bool finish() {
    if (threads_.index() == 0) shared_.exit = work_.plan.exit(rank(), all_.size);
    threads_.sync();
    if (line_.turns() > 0 && threads_.index() == 0)
      Access::release(&own().progress, shared_.base + line_.turns());
    // The last piece's progress is the highest, and stands for all of them.
    if (!await(shared_.exit, work_.parts.pieces() - 1)) return false;
    if (threads_.index() == 0) Access::release(&own().completed, shared_.number + 1);
    return true;
  }

  ALLFOLD_HOST_DEVICE bool await(const waits& list, int piece) {
    if (list.empty()) return true;
    bool reached = true;
    int first = 0;
    ALLFOLD_ROLLED
    for (const wait& each : list) {
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
      if (!watch_.until_entered(state_of(peer), shared_.number, work_.fingerprint, peer))
        return false;
      met_ |= bit;
    }
    return index == entered ||
           watch_.until_reached(&state_of(peer).progress,
                                shared_.base + line_.progress_after(index, piece), peer, index);
  }

  ALLFOLD_HOST_DEVICE void publish(int round, int index) {
    threads_.sync();
    if (threads_.index() == 0)
      Access::release(&own().progress, shared_.base + line_.progress_in(round, index));
  }

  /// Chunk by chunk, because a lane's slice of two chunks is not the two slices side by side.
  ALLFOLD_HOST_DEVICE void carry_out(const step& now, int piece) {
    ALLFOLD_ROLLED
    for (int i = 0; i < now.width; ++i) {
      if (threads_.index() == 0) {
        const std::size_t elements = shared_.parts.of(now.chunk + i, 1, piece).count;
        shared_.begin = part_begin(elements, shared_.here.lanes, work_.granule, shared_.here.lane);
        shared_.count =
            part_begin(elements, shared_.here.lanes, work_.granule, shared_.here.lane + 1) -
            shared_.begin;
      }
      threads_.sync();
      const int sources = locate(now.sources, 0, i, piece);
      const int targets = locate(now.targets, sources, i, piece);
      threads_.sync();
      const int finish_ranks = now.completes ? all_.size : 0;
      if constexpr (folds(Schedule::kind))
        fold_slice(block_fold<T, Operation>{shared_.places, sources, targets, work_.operation,
                                            finish_ranks});
      else
        fold_slice(block_fold<T, copied>{shared_.places, sources, targets, {}, finish_ranks});
      if (i + 1 < now.width) threads_.sync();
    }
  }

  template <class Fold>
  ALLFOLD_HOST_DEVICE void fold_slice(const Fold& fold) {
    fold(shared_.count, threads_.index(), threads_.count());
  }

  /// Writes the places of the operands' elements into shared memory, from number `first` on.
  template <int Most>
  ALLFOLD_HOST_DEVICE int locate(const few<operand, Most>& operands, int first, int i, int piece) {
    int number = first;
    ALLFOLD_ROLLED
    for (const operand& each : operands) {
      const std::size_t bytes = (offset_of(each, i, piece) + shared_.begin) * sizeof(T);
      detail::for_own(number, each.who.count, threads_.index(), threads_.count(), [&](int j) {
        shared_.places[number + j] = base_of(each.who.at(j, all_.size), each.where) + bytes;
      });
      number += each.who.count;
    }
    return number - first;
  }
  ALLFOLD_HOST_DEVICE std::byte* base_of(int peer, buffer where) const {
    if (peer == rank())
      return where == buffer::input    ? mine().input
             : where == buffer::output ? mine().output
                                       : mine().scratch;
    const post& its = post_of(peer);
    std::byte* const base = where == buffer::input    ? its.input
                            : where == buffer::output ? its.output
                                                      : its.scratch;
    return base + all_.shifts[peer];
  }
  ALLFOLD_HOST_DEVICE std::size_t offset_of(const operand& it, int i, int piece) const {
    if (holds_own_chunk(Schedule::kind, it.where)) return 0;
    if (it.where != buffer::scratch) return shared_.parts.begin(it.chunk + i, piece);
    return static_cast<std::size_t>(it.chunk + i) * shared_.parts.longest() +
           shared_.parts.begin(0, piece);
  }

  Lane& threads_;
  block_memory& shared_;
  const task<Schedule, Operation>& work_;
  const group& all_;
  watch<Access> watch_;
  pipeline<Schedule> line_;
  std::uint64_t met_ = 0;  ///< ranks that this thread has found to run the same collective
};

/// The number of elements that all slices' bounds are multiples of: a cache line of them.
template <class T>
inline constexpr std::size_t slice_granule = sizeof(T) >= 128 ? 1 : 128 / sizeof(T);

}  // namespace allfold::device
