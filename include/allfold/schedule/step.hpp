// The vocabulary of schedules: who folds which chunk from whom, writes it to whom, after which
// waits.
//
// A schedule is a small value type. For (rank, size, index) it answers with a `step`; it holds no
// memory and moves nothing. Every function here is constexpr and callable on host and device, so
// that one schedule is proven by the compiler, run by threads and run by kernels.
#pragma once

#include <allfold/config.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace allfold {

/// What a schedule computes. Fixes what each rank gives and what it holds at the end.
enum class collective : std::uint8_t {
  all_reduce,
  reduce,
  broadcast,
  reduce_scatter,
  all_gather,
  scatter,
  gather,
  all_to_all,
  barrier
};

/// The collective's name as its function is spelled.
constexpr std::string_view name_of(collective kind) {
  constexpr std::string_view names[] = {"all_reduce",     "reduce",     "broadcast",
                                        "reduce_scatter", "all_gather", "scatter",
                                        "gather",         "all_to_all", "barrier"};
  return names[static_cast<int>(kind)];
}

/// True for the collectives that fold elements with an operation.
ALLFOLD_HOST_DEVICE constexpr bool folds(collective kind) {
  return kind == collective::all_reduce || kind == collective::reduce ||
         kind == collective::reduce_scatter;
}

/// The memory that a rank brings to a collective.
///  - input: what the caller gives; read only unless the call is in place (then it is the output).
///  - output: what the caller receives; also where partial folds may be kept.
///  - slot: a copy of the input that the library makes as the rank enters; nobody writes it after.
///  - scratch: memory of the library, `scratch_chunks(size)` chunks long; undefined on entry.
enum class buffer : std::uint8_t { input, output, slot, scratch };

/// As the index of a step: "has entered the collective", which comes before every step.
inline constexpr int entered = -1;

/// `count` ranks: first, first + stride, … modulo the size. `first` is in [0, size), stride >= 0.
struct ranks {
  int first = 0;
  int count = 1;
  int stride = 1;

  ALLFOLD_HOST_DEVICE constexpr int at(int i, int size) const {
    int rank = first + i * stride;
    while (rank >= size) rank -= size;  // at most a few times; a division would cost more
    return rank;
  }
};

/// All ranks, in rank order.
ALLFOLD_HOST_DEVICE constexpr ranks every(int size) { return {0, size, 1}; }
/// A single rank.
ALLFOLD_HOST_DEVICE constexpr ranks only(int rank) { return {rank, 1, 0}; }
/// All ranks but one, starting behind it.
ALLFOLD_HOST_DEVICE constexpr ranks every_other(int rank, int size) {
  return {(rank + 1) % size, size - 1, 1};
}

/// The remainder in [0, size), also for negative numbers.
ALLFOLD_HOST_DEVICE constexpr int wrap(int value, int size) {
  return ((value % size) + size) % size;
}

/// A chunk in one buffer of each of some ranks.
struct operand {
  buffer where = buffer::input;
  ranks who;
  int chunk = 0;
};

/// Ranks that must have completed their step `step` (or have entered).
struct wait {
  ranks who;
  int step = entered;
};

/// A list of at most `Capacity` items that lives in registers.
template <class T, int Capacity>
struct few {
  T items[static_cast<std::size_t>(Capacity)];
  int count = 0;

  ALLFOLD_HOST_DEVICE constexpr few() {}

  ALLFOLD_HOST_DEVICE constexpr void push(T item) {
#if defined(__CUDA_ARCH__)
    // Only what is indexed by constants stays in registers.
    ALLFOLD_UNROLL
    for (int i = 0; i < Capacity; ++i)
      if (i == count) items[i] = item;
    ++count;
#else
    if (count == Capacity) __builtin_trap();  // in a constant expression: a compile error
    items[count++] = item;
#endif
  }
  ALLFOLD_HOST_DEVICE constexpr const T* begin() const { return items; }
  ALLFOLD_HOST_DEVICE constexpr const T* end() const { return items + count; }
  ALLFOLD_HOST_DEVICE constexpr bool empty() const { return count == 0; }
};

/// What a rank waits for: before a step, or before it leaves.
using waits = few<wait, 3>;

/// One step of one rank: after its waits, fold `width` consecutive chunks from the sources, in the
/// order listed, and write the result to the targets. One source is a copy, none only waits.
/// Built by chaining: `step{chunk}.from(…).from(…).to(…).after(…)`.
struct step {
  int chunk = 0;           ///< the first chunk that the step is about; gives its length
  int width = 1;           ///< how many consecutive chunks
  bool completes = false;  ///< the result holds every rank's contribution (an average divides here)
  few<operand, 3> sources;
  few<operand, 2> targets;
  allfold::waits waits;

  ALLFOLD_HOST_DEVICE constexpr step() {}
  ALLFOLD_HOST_DEVICE constexpr explicit step(int first_chunk, int chunks = 1)
      : chunk{first_chunk}, width{chunks} {}

  /// Folds the step's chunk out of `where` of `who`.
  ALLFOLD_HOST_DEVICE constexpr step& from(ranks who, buffer where) {
    return from(who, where, chunk);
  }
  /// Folds another chunk of the same length out of `where` of `who`.
  ALLFOLD_HOST_DEVICE constexpr step& from(ranks who, buffer where, int other_chunk) {
    sources.push({where, who, other_chunk});
    return *this;
  }
  /// Writes to the step's chunk in `where` of `who`.
  ALLFOLD_HOST_DEVICE constexpr step& to(ranks who, buffer where) { return to(who, where, chunk); }
  /// Writes to another chunk of the same length in `where` of `who`.
  ALLFOLD_HOST_DEVICE constexpr step& to(ranks who, buffer where, int other_chunk) {
    targets.push({where, who, other_chunk});
    return *this;
  }
  /// Waits until `who` have completed their step `index`, or have `entered`.
  ALLFOLD_HOST_DEVICE constexpr step& after(ranks who, int index) {
    waits.push({who, index});
    return *this;
  }
  /// Says whether the result is the whole fold.
  ALLFOLD_HOST_DEVICE constexpr step& complete(bool whole = true) {
    completes = whole;
    return *this;
  }
  /// True if there is nothing to wait for and nothing to do.
  ALLFOLD_HOST_DEVICE constexpr bool idle() const { return sources.empty() && waits.empty(); }
};

/// The step of a rank that is alone: its input is the result.
ALLFOLD_HOST_DEVICE constexpr step alone() {
  return step{}.from(only(0), buffer::input).to(only(0), buffer::output).complete();
}

/// What a type must answer to be run as a schedule. Optional besides: `lag(size, index)` (see
/// pipeline.hpp), `scratch_chunks(size)`, `piece_bytes` (the pieces it likes to be pipelined in),
/// `small` (the schedule for messages that fit a slot), `in_place` and `root`. A schedule that
/// derives from another inherits these too, `small` included.
template <class Schedule>
concept schedule = requires(const Schedule plan, int n) {
  requires collective { Schedule::kind }
  == Schedule::kind;  // known at compile time
  { Schedule::name } -> std::convertible_to<std::string_view>;
  { plan.chunks(n) } -> std::same_as<int>;
  { plan.steps(n) } -> std::same_as<int>;
  { plan.at(n, n, n) } -> std::same_as<step>;
  { plan.exit(n, n) } -> std::same_as<waits>;
};

/// True for a schedule that is known to be sound, so that the compiler need not prove it where it
/// is used. The library's own are proven when the library is built and tested (ALLFOLD_PROVE). Any
/// other is proven for 1 to 8 ranks by each unit that uses it; its author may specialise this,
/// having proven it once.
template <class Schedule>
inline constexpr bool trusted = false;

/// True of a schedule in which every rank does what rank 0 does, with the ranks shifted: what rank
/// 0 takes, all take, and predictions for many ranks need not look at the others.
template <class Schedule>
inline constexpr bool same_for_all_ranks = false;

/// The rank that a schedule is rooted at; 0 where it has no root.
template <class Schedule>
ALLFOLD_HOST_DEVICE constexpr int root_of(const Schedule& plan) {
  if constexpr (requires { plan.root; }) {
    return plan.root;
  } else {
    return 0;
  }
}

/// How many chunks of scratch memory each rank must bring.
template <class Schedule>
ALLFOLD_HOST_DEVICE constexpr int scratch_chunks_of(const Schedule& plan, int size) {
  if constexpr (requires { plan.scratch_chunks(size); }) {
    return plan.scratch_chunks(size);
  } else {
    return 0;
  }
}

/// True if the ranks' inputs are copied into slots as they enter. All of it must fit. An all-reduce
/// then reads nothing but slots, and a rank writes to its own output only.
template <class Schedule>
inline constexpr bool reads_slots = requires {
  requires Schedule::reads_slots;
};

}  // namespace allfold
