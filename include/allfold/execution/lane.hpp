// What the threads of one block share while a rank's kernel runs, and what lanes of different ranks
// show each other.
//
// A lane is one block of a rank's kernel. Lane b of every rank works on the b-th slice of each
// chunk, and lanes of the same number wait for each other only. All this compiles for the host too:
// there a test runs the same bodies with a std::thread for each thread of the block.
#pragma once

#include <allfold/schedule/partition.hpp>
#include <concepts>

namespace allfold::device {

/// At most so many ranks to a communicator of devices.
inline constexpr int max_ranks = 32;

/// No lane is further ahead of another rank's than this many collectives.
inline constexpr std::uint64_t window = 4;

/// What a rank's lane shows of a collective that it has entered; `stamp`, the collective's number
/// + 1, is written last and makes the rest visible.
struct alignas(64) post {
  std::uint64_t stamp;
  std::uint64_t fingerprint;
  std::byte* input;
  std::byte* output;
  std::byte* scratch;
};

/// What one lane of one rank has done. It lies in the rank's memory and only that lane writes it;
/// zero at first, then the counters only grow. The number of the current collective and where its
/// turns begin are found here too, and so a captured graph can be replayed.
struct alignas(128) lane_state {
  std::uint64_t progress;   ///< turns, over all collectives
  std::uint64_t completed;  ///< collectives
  std::uint64_t shots;      ///< collectives that went through slots
  std::uint64_t reported;   ///< of rank 0's first lane: not 0 once a rank writes the group's report
  post posts[window];
};

/// Why a lane gave up.
enum class failure_kind : std::uint32_t { none, timeout, mismatch };

/// The first failure of a group, in memory that the host reads too. Whoever is the first to set
/// `reported` fills it in, and then sets `word` to `written`. The host sets `stopped` to anything
/// but 0 to make all kernels give up. Both words are only ever stored: over PCIe, a device's
/// read-modify-write of the host's memory need not be atomic.
struct failure_report {
  static constexpr std::uint32_t free = 0, written = 1;

  std::uint32_t word;
  std::uint32_t stopped;
  failure_kind kind;
  int rank;  ///< that gave up
  int lane;
  int peer;            ///< whom it waited for
  int step;            ///< which of the peer's steps; −1: that it enters
  std::uint64_t call;  ///< the collective; see task
};

/// How threads reach memory that other ranks read and write at the same time, and the time:
///  - acquire, release, relaxed_load, relaxed_store: 64-bit words, at the scope that the ranks
///  need;
///  - claim: sets a word to 1; true for the first to do so;
///  - has_failed, finish_report: a failure_report, which the host shares;
///  - now(): nanoseconds; pause(): called after a look that found nothing.
template <class T>
concept memory_access = requires(std::uint64_t* word, std::uint64_t value, failure_report* report) {
  { T::acquire(word) } -> std::same_as<std::uint64_t>;
  { T::relaxed_load(word) } -> std::same_as<std::uint64_t>;
  T::release(word, value);
  T::relaxed_store(word, value);
  { T::has_failed(report) } -> std::same_as<bool>;
  { T::claim(word) } -> std::same_as<bool>;
  T::finish_report(report);
  { T::now() } -> std::same_as<std::uint64_t>;
  T::pause();
};

/// All ranks of a group, as every kernel sees them. Unused entries are null.
struct group {
  int size;
  lane_state* states[max_ranks];  ///< by rank, then lane
  std::uint64_t* slots[max_ranks];
  std::size_t slot_words;  ///< words that one rank may send to another in one shot
  failure_report* failure;
  std::uint64_t patience;  ///< nanoseconds that a thread waits for another rank
  /// Added to an address in a rank's own memory, it gives where this rank sees that memory; 0 where
  /// all ranks are in one process.
  std::ptrdiff_t shifts[max_ranks];
};

/// One rank of a launch, and the memory that it brings.
struct member {
  int rank;
  std::byte* input;
  std::byte* output;
  std::byte* scratch;
};

/// Shows the other ranks that a lane has entered collective `number`, and the memory it brings.
template <memory_access Access>
ALLFOLD_HOST_DEVICE void announce(lane_state& own, std::uint64_t number, std::uint64_t fingerprint,
                                  const member& mine) {
  post& said = own.posts[number % window];
  said.fingerprint = fingerprint;
  said.input = mine.input;
  said.output = mine.output;
  said.scratch = mine.scratch;
  Access::release(&said.stamp, number + 1);
}

/// How many collectives a lane of every rank must have completed before one announces collective
/// `number`: then nobody needs the post that it overwrites. 0 where this follows from before.
ALLFOLD_HOST_DEVICE constexpr std::uint64_t completed_before(std::uint64_t number) {
  constexpr std::uint64_t stride = window / 2;
  return number % stride == 0 && number >= window ? number + 1 - stride : 0;
}

/// Where a lane stands: its number, how many there are, and its part in the group.
struct place {
  int lane;
  int lanes;
  member mine;
};

/// What the threads of a block share. Here, and not in every thread's registers, is where they
/// stand and what they do next: one of them works it out.
struct block_memory {
  place here;
  partition parts;
  std::uint64_t number;                  ///< of the collective, over the lane's life
  std::uint64_t base;                    ///< the lane's progress when it began
  step now[2];                           ///< the current step and the one before, taking turns
  waits exit;                            ///< whom to wait for before leaving
  std::size_t begin;                     ///< of the lane's slice, within the step's chunk
  std::size_t count;                     ///< elements of the slice
  std::byte* places[2 * max_ranks + 4];  ///< where the sources', then the targets' elements lie
};

/// The threads of a block: `index()` of `count()`; `sync()` waits for all of them, and `any(flag)`
/// also says whether one of them gave true; both order memory among them.
template <class T>
concept lane = requires(T& threads, bool flag) {
  { threads.index() } -> std::same_as<int>;
  { threads.count() } -> std::same_as<int>;
  { threads.any(flag) } -> std::same_as<bool>;
  { threads.memory() } -> std::same_as<block_memory&>;
  threads.sync();
};

/// One thread's waits for other ranks.
template <memory_access Access>
class watch {
 public:
  ALLFOLD_HOST_DEVICE watch(const group& all, const place& here, const std::uint64_t& call)
      : all_{all}, here_{here}, call_{call} {}

  /// Waits until `ready()`, looking at the group's failure and the clock every so often. `slow()`
  /// is asked then too whether the peer does something else. False if the collective has failed.
  template <class Ready, class Slow>
  ALLFOLD_HOST_DEVICE bool until(Ready ready, Slow slow, int peer, int step) const {
    std::uint64_t begin = 0;
    for (std::uint32_t looks = 0; !ready(); ++looks) {
      Access::pause();
      if (looks % 1024 != 1023) continue;
      if (Access::has_failed(all_.failure)) return false;
      if (slow()) return fail(failure_kind::mismatch, peer, step);
      const std::uint64_t now = Access::now();
      if (begin == 0) begin = now;
      if (now - begin > all_.patience) return fail(failure_kind::timeout, peer, step);
    }
    return true;
  }
  ALLFOLD_HOST_DEVICE bool until_reached(std::uint64_t* counter, std::uint64_t target, int peer,
                                         int step) const {
    return until([=] { return Access::acquire(counter) >= target; }, [] { return false; }, peer,
                 step);
  }

  /// Waits until a peer's lane has entered collective `number`, and finds out if it is another one.
  ALLFOLD_HOST_DEVICE bool until_entered(lane_state& its, std::uint64_t number,
                                         std::uint64_t fingerprint, int peer) const {
    post& said = its.posts[number % window];
    if (!until_reached(&said.stamp, number + 1, peer, entered)) return false;
    return said.fingerprint == fingerprint || fail(failure_kind::mismatch, peer, entered);
  }

  /// Reports a failure unless there is one already; returns false, and not before the host can read
  /// of it: or else this kernel's end would look like success. Only so long, for another process
  /// that was about to report may have died.
  ALLFOLD_HOST_DEVICE bool fail(failure_kind kind, int peer, int step) const {
    if (Access::claim(&all_.states[0][0].reported)) {
      failure_report& it = *all_.failure;
      it.kind = kind;
      it.rank = here_.mine.rank;
      it.lane = here_.lane;
      it.peer = peer;
      it.step = step;
      it.call = call_;
      Access::finish_report(all_.failure);
      return false;
    }
    constexpr int longest = 1 << 20;
    ALLFOLD_ROLLED
    for (int looks = 0; looks < longest && !Access::has_failed(all_.failure); ++looks)
      Access::pause();
    return false;
  }

 private:
  const group& all_;
  const place& here_;
  const std::uint64_t& call_;
};

}  // namespace allfold::device
