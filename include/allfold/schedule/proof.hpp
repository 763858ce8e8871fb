// Proves a schedule, at compile time if asked: complete, free of deadlock, free of races.
#pragma once

#include <allfold/schedule/fold_order.hpp>

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
  not_synchronizing       ///< a barrier that a rank can leave before all have entered
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
                                        "lets a rank leave before all have entered"};
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
};

namespace detail {

/// Follows a trace with vector clocks: one clock per rank, joined where a wait orders two ranks.
/// Lamport, 1978; races found as in Flanagan and Freund, "FastTrack", 2009.
template <class Schedule>
class prover {
 public:
  constexpr prover(const Schedule& plan, int size, int pieces, bool in_place)
      : plan_{plan},
        size_{size},
        pieces_{pieces},
        steps_{plan.steps(size)},
        chunks_{most_chunks(plan, size)},
        memory_{size, chunks_, pieces, in_place},
        clocks_(at(size * size), 0),
        stamps_(at(size * (steps_ + 1) * pieces * size), 0),
        writes_(memory_.cells()),
        heads_(memory_.cells(), -1) {}

  constexpr proof run() {
    contribute_inputs(memory_, plan_, size_, pieces_);
    const trace_end end = trace(plan_, size_, pieces_, *this);
    if (!end.finished && result_.what == flaw::none) {
      result_.what = end.impossible ? flaw::impossible_wait : flaw::circular_wait;
      result_.rank = end.rank;
      result_.index = end.index;
      result_.peer = end.peer;
    }
    result_.deadlock_free = end.finished;
    if (end.finished)
      check_results();
    else
      result_.complete = result_.rank_ordered = false;
    return result_;
  }

  /// A rank enters or leaves. Before, its caller has filled its memory; after, it may use it again.
  constexpr void operator()(const event& now) {
    const int rank = now.rank;
    if (now.kind == event::what::enter) {
      clocks_[at(rank * size_ + rank)] = 1;
      for (int piece = 0; piece < pieces_; ++piece) stamp(rank, entered, piece);
      own_cells(rank, [&](std::size_t cell, int) { writes_[cell] = {rank, 1, now.kind}; });
      return;
    }
    const waits list = plan_.exit(rank, size_);
    for (int piece = 0; piece < pieces_; ++piece) join(rank, list, piece);
    check_synchronized(rank);
    ++clocks_[at(rank * size_ + rank)];
    own_cells(rank, [&](std::size_t cell, int chunk) {
      write(cell, rank, now.index, rank, chunk, now.kind);
    });
  }

  /// A rank completes a step.
  constexpr void operator()(const event& now, const step& what) {
    const int rank = now.rank;
    join(rank, what.waits, now.piece);
    ++clocks_[at(rank * size_ + rank)];
    for (const operand& each : what.sources)
      touch(each, what.width, now, [&](std::size_t cell, int owner, int chunk) {
        read(cell, rank, now.index, owner, chunk);
      });
    for (const operand& each : what.targets)
      touch(each, what.width, now, [&](std::size_t cell, int owner, int chunk) {
        if (copies_onto_itself(what, cell, chunk - each.chunk, now.piece)) return;
        write(cell, rank, now.index, owner, chunk, event::what::step);
      });
    if (!memory_.apply(what, now.piece)) note(flaw::reads_nothing, rank, -1, now.index, what.chunk);
    stamp(rank, now.index, now.piece);
  }

 private:
  struct use {
    int rank = -1;
    int time = 0;
    event::what kind = event::what::enter;
  };
  struct reading {
    int rank;
    int time;
    int next;  ///< of the readings since the last write of the same cell
  };

  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }
  static constexpr int most_chunks(const Schedule& plan, int size) {
    const int scratch = scratch_chunks_of(plan, size);
    return plan.chunks(size) > scratch ? plan.chunks(size) : scratch;
  }
  constexpr int* clock(int rank) { return clocks_.data() + rank * size_; }
  constexpr int* stamped(int rank, int index, int piece) {
    return stamps_.data() + ((rank * (steps_ + 1) + index + 1) * pieces_ + piece) * size_;
  }
  constexpr void stamp(int rank, int index, int piece) {
    int* const mark = stamped(rank, index, piece);
    const int* const mine = clock(rank);
    for (int i = 0; i < size_; ++i) mark[i] = mine[i];
  }
  constexpr void join(int rank, const waits& list, int piece) {
    int* const mine = clock(rank);
    for (const wait& each : list)
      for (int k = 0; k < each.who.count; ++k) {
        const int peer = each.who.at(k, size_);
        if (peer == rank) continue;
        int index = each.step;
        while (stamped(peer, index, piece)[peer] == 0) --index;  // idle: stands for the one before
        const int* const mark = stamped(peer, index, piece);
        if (mark[peer] <= mine[peer]) continue;  // known already, with all that it knew
        for (int i = 0; i < size_; ++i)
          if (mark[i] > mine[i]) mine[i] = mark[i];
      }
  }

  /// The chunks that a caller may use before entry and after exit. Slots outlive the call.
  template <class Use>
  constexpr void own_cells(int rank, Use use_cell) {
    for (const buffer where : {buffer::input, buffer::output, buffer::scratch}) {
      if (where == buffer::scratch && scratch_chunks_of(plan_, size_) == 0) continue;
      for (int chunk = 0; chunk < chunks_; ++chunk)
        for (int piece = 0; piece < pieces_; ++piece)
          use_cell(memory_.cell(rank, where, chunk, piece), chunk);
    }
    if (!reads_slots<Schedule>) return;
    for (int piece = 0; piece < pieces_; ++piece) {
      const std::size_t slot = memory_.cell(rank, buffer::slot, 0, piece);
      if (writes_[slot].rank < 0) use_cell(slot, 0);
    }
  }

  /// A copy from a place to the same place, as of a root's own data in place, is not carried out.
  constexpr bool copies_onto_itself(const step& what, std::size_t cell, int i, int piece) const {
    if (what.sources.count != 1 || what.sources.begin()->who.count != 1) return false;
    const operand& from = *what.sources.begin();
    return memory_.cell(from.who.at(0, size_), from.where, from.chunk + i, piece) == cell;
  }

  template <class Use>
  constexpr void touch(const operand& it, int width, const event& now, Use use_cell) {
    for (int k = 0; k < it.who.count; ++k) {
      const int owner = it.who.at(k, size_);
      for (int i = 0; i < width; ++i)
        use_cell(memory_.cell(owner, it.where, it.chunk + i, now.piece), owner, it.chunk + i);
    }
  }
  constexpr void read(std::size_t cell, int rank, int index, int owner, int chunk) {
    const use& last = writes_[cell];
    if (last.rank < 0)
      note(flaw::touched_before_entry, rank, owner, index, chunk);
    else if (last.time > clock(rank)[last.rank])
      note(before(last.kind, flaw::read_too_early), rank, owner, index, chunk);
    reads_.push_back({rank, clock(rank)[rank], heads_[cell]});
    heads_[cell] = static_cast<int>(reads_.size()) - 1;
  }
  constexpr void write(std::size_t cell, int rank, int index, int owner, int chunk,
                       event::what kind) {
    use& last = writes_[cell];
    const int* const mine = clock(rank);
    if (last.rank < 0)
      note(flaw::touched_before_entry, rank, owner, index, chunk);
    else if (last.time > mine[last.rank])
      note(after(kind, before(last.kind, flaw::written_twice)), rank, owner, index, chunk);
    for (int i = heads_[cell]; i >= 0; i = reads_[at(i)].next)
      if (reads_[at(i)].time > mine[reads_[at(i)].rank])
        note(after(kind, flaw::overwritten_too_early), rank, reads_[at(i)].rank, index, chunk);
    heads_[cell] = -1;
    last = {rank, mine[rank], kind};
  }
  static constexpr flaw before(event::what last, flaw otherwise) {
    if (last == event::what::exit) return flaw::touched_after_exit;
    return last == event::what::enter ? flaw::touched_before_entry : otherwise;
  }
  static constexpr flaw after(event::what now, flaw otherwise) {
    return now == event::what::exit ? flaw::touched_after_exit : otherwise;
  }

  constexpr void check_synchronized(int rank) {
    if (Schedule::kind != collective::barrier) return;
    for (int peer = 0; peer < size_; ++peer)
      if (clock(rank)[peer] < 1) note(flaw::not_synchronizing, rank, peer, steps_, -1);
  }

  constexpr void check_results() {
    for (int rank = 0; rank < size_; ++rank)
      for (int chunk = 0; chunk < plan_.chunks(size_); ++chunk) {
        const expectation want = expected(Schedule::kind, root_of(plan_), rank, chunk);
        for (int piece = 0; want.anything && piece < pieces_; ++piece)
          check_result(want, rank, chunk, memory_.at(rank, buffer::output, chunk, piece));
      }
  }
  constexpr void check_result(const expectation& want, int rank, int chunk, int held) {
    if (held == fold_values::undefined) {
      note(flaw::missing_contribution, rank, -1, -1, chunk);
      return;
    }
    if (want.everyone) {
      check_fold(rank, chunk, held);
      return;
    }
    const fold_values::value& it = memory_[held];
    const int bare = it.rank < 0 && it.count == 1 ? memory_.operand_of(it, 0) : held;
    if (memory_[bare].rank != want.rank || memory_[bare].chunk != want.chunk)
      note(flaw::wrong_contribution, rank, memory_[bare].rank, -1, chunk);
  }
  constexpr void check_fold(int rank, int chunk, int held) {
    std::vector<int> counts(at(size_), 0);
    count(held, rank, chunk, counts, true);
    for (int peer = 0; peer < size_; ++peer) {
      if (counts[at(peer)] == 0) note(flaw::missing_contribution, rank, peer, -1, chunk);
      if (counts[at(peer)] > 1) note(flaw::folded_twice, rank, peer, -1, chunk);
    }
    if (!memory_[held].complete) note(flaw::wrong_completion, rank, -1, -1, chunk);
    result_.rank_ordered = result_.rank_ordered && is_rank_ordered(memory_[held]);
  }
  constexpr void count(int number, int rank, int chunk, std::vector<int>& counts, bool top) {
    const fold_values::value& it = memory_[number];
    if (it.rank >= 0) {
      if (it.chunk != chunk) note(flaw::wrong_contribution, rank, it.rank, -1, chunk);
      ++counts[at(it.rank)];
      return;
    }
    if (it.complete && !top) note(flaw::wrong_completion, rank, -1, -1, chunk);
    for (int i = 0; i < it.count; ++i) count(memory_.operand_of(it, i), rank, chunk, counts, false);
  }
  constexpr bool is_rank_ordered(const fold_values::value& it) const {
    if (it.rank >= 0 || it.count != size_) return it.rank >= 0 && size_ == 1;
    for (int i = 0; i < it.count; ++i)
      if (memory_[memory_.operand_of(it, i)].rank != i) return false;
    return true;
  }

  constexpr void note(flaw what, int rank, int peer, int index, int chunk) {
    const bool race = what >= flaw::read_too_early && what <= flaw::touched_after_exit;
    if (race)
      result_.race_free = false;
    else
      result_.complete = false;
    if (result_.what != flaw::none) return;
    result_.what = what;
    result_.rank = rank;
    result_.peer = peer;
    result_.index = index;
    result_.chunk = chunk;
  }

  Schedule plan_;
  int size_;
  int pieces_;
  int steps_;
  int chunks_;
  fold_values memory_;
  std::vector<int> clocks_;  ///< [rank][of]
  std::vector<int> stamps_;  ///< [rank][step + 1][piece][of], the clock after each step
  std::vector<use> writes_;  ///< the last write of each cell
  std::vector<int> heads_;   ///< the last reading of each cell since its last write, or −1
  std::vector<reading> reads_;
  proof result_;
};

}  // namespace detail

/// Proves a schedule for `size` ranks and `pieces` pieces, both out of place and in place.
/// Constexpr: `static_assert(prove<my_schedule>(4).sound())`.
template <schedule Schedule>
constexpr proof prove(const Schedule& plan, int size, int pieces = 1) {
  proof found;
  for (const bool in_place : {false, true}) {
    if constexpr (requires { plan.in_place; })
      if (plan.in_place != in_place) continue;
    found = detail::prover<Schedule>{plan, size, pieces, in_place}.run();
    if (!found.sound()) break;
  }
  return found;
}
template <schedule Schedule>
constexpr proof prove(int size, int pieces = 1) {
  return prove(Schedule{}, size, pieces);
}

/// True if a schedule is sound for 1 to 8 ranks. Evaluated by the compiler, once per program unit
/// that asks.
template <schedule Schedule>
inline constexpr bool proven = [] {
  for (int size = root_of(Schedule{}) + 1; size <= 8; ++size)
    if (!prove<Schedule>(size).sound()) return false;
  return true;
}();

/// Refuses to compile a schedule that is not sound.
template <schedule Schedule>
constexpr void require_sound() {
  if constexpr (!trusted<Schedule>)
    static_assert(
        proven<Schedule>,
        "allfold: this schedule is not sound for 1 to 8 ranks; prove<Schedule>(ranks).what "
        "says why");
}

}  // namespace allfold
