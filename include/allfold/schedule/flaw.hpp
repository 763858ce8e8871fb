// What can be wrong with a schedule, and what a proof says of it.
#pragma once

#include <cstdint>
#include <string_view>

namespace allfold {

/// What is wrong with a schedule.
enum class flaw : std::uint8_t {
  none,
  impossible_wait,        ///< a wait for a rank or a step that does not exist
  circular_wait,          ///< ranks wait for each other and nobody can go on
  reads_nothing,          ///< a source holds nothing yet
  read_too_early,         ///< a chunk is read, and nothing orders the read after its last write
  overwritten_too_early,  ///< a chunk is written while another rank may still read it
  written_twice,          ///< two writes of a chunk without an order
  touched_before_entry,   ///< another rank's memory is used, and it may not have entered yet
  touched_after_exit,     ///< a rank may leave while others still use its memory
  folded_twice,           ///< a contribution is in a result more than once
  missing_contribution,   ///< a contribution is not in a result
  wrong_contribution,     ///< a result holds what it should not: another chunk, root or rank
  wrong_completion,       ///< `complete()` is not said of exactly the last fold
  not_synchronizing,      ///< a barrier that a rank can leave before all have entered
  outside_memory          ///< a chunk is used that the rank does not have, or may only be read
};

/// The flaw in words.
constexpr std::string_view name_of(flaw what) {
  constexpr std::string_view names[] = {"sound",
                                        "waits for what does not exist",
                                        "ranks wait in a circle",
                                        "reads what holds nothing",
                                        "reads what may not be written yet",
                                        "overwrites what may still be read",
                                        "writes what another may write at the same time",
                                        "touches a rank that may not have entered",
                                        "lets a rank leave while its memory is in use",
                                        "folds a contribution twice",
                                        "misses a contribution",
                                        "holds a wrong contribution",
                                        "completes at the wrong fold",
                                        "lets a rank leave before all have entered",
                                        "uses memory that it is not given"};
  return names[static_cast<int>(what)];
}

/// What `prove` found. `rank`, `peer`, `index` and `chunk` say where the first flaw shows: at rank
/// `rank` in step `index`, against rank `peer`, on that rank's chunk; −1 where not applicable.
struct proof {
  bool complete = true;       ///< every contribution reaches every result exactly once
  bool deadlock_free = true;  ///< no wait can hang
  bool race_free = true;      ///< no two unordered uses of a chunk, entry and exit included
  bool rank_ordered = true;  ///< every result is one fold over ranks 0, 1, 2, … from left to right
  flaw what = flaw::none;
  int rank = -1;
  int peer = -1;
  int index = -1;
  int chunk = -1;

  constexpr bool sound() const { return complete && deadlock_free && race_free; }

  /// Takes down a flaw; the first one is kept.
  constexpr void note(flaw found, int at_rank, int at_peer, int at_index, int at_chunk) {
    const bool race = found >= flaw::read_too_early && found <= flaw::touched_after_exit;
    if (race)
      race_free = false;
    else if (found == flaw::impossible_wait || found == flaw::circular_wait)
      deadlock_free = false;
    else
      complete = false;
    if (what != flaw::none) return;
    what = found;
    rank = at_rank;
    peer = at_peer;
    index = at_index;
    chunk = at_chunk;
  }
};

}  // namespace allfold
