// Which uses of memory a schedule orders, and which may happen at the same time.
// Vector clocks: Lamport, 1978; races found as in Flanagan and Freund, "FastTrack", 2009.
#pragma once

#include <allfold/schedule/flaw.hpp>
#include <allfold/schedule/fold_order.hpp>
#include <allfold/schedule/partition.hpp>

namespace allfold::detail {

/// One clock per rank, joined where a wait orders two ranks, and the last uses of every chunk. Fed
/// with the events of a trace in their order; notes two uses without an order in `found`.
template <class Schedule>
class happens_before {
 public:
  constexpr happens_before(const Schedule& plan, int size, int pieces, const fold_values& memory,
                           int chunks, proof& found)
      : plan_{plan},
        size_{size},
        pieces_{pieces},
        steps_{plan.steps(size)},
        chunks_{chunks},
        memory_{memory},
        found_{found},
        clocks_(at(size * size), 0),
        stamps_(at(size * (steps_ + 1) * pieces * size), 0),
        writes_(memory.cells()),
        heads_(memory.cells(), -1) {}

  /// A rank enters: its caller has filled its memory before.
  constexpr void enter(int rank) {
    clock(rank)[rank] = 1;
    for (int piece = 0; piece < pieces_; ++piece) stamp(rank, entered, piece);
    own_cells(rank, [&](std::size_t cell, int) { writes_[cell] = {rank, 1, event::what::enter}; });
  }

  /// A rank completes a step. False if it uses memory that it is not given.
  constexpr bool complete(const event& now, const step& what) {
    const int rank = now.rank;
    join(rank, what.waits, now.piece);
    ++clock(rank)[rank];
    for (const operand& each : what.sources)
      if (!is_given(each, now, what.width, false)) return false;
    for (const operand& each : what.targets)
      if (!is_given(each, now, what.width, true)) return false;
    for (const operand& each : what.sources)
      touch(each, what.width, now, [&](std::size_t cell, int owner, int chunk) {
        read(cell, rank, now.index, owner, chunk);
      });
    for (const operand& each : what.targets)
      touch(each, what.width, now, [&](std::size_t cell, int owner, int chunk) {
        if (copies_onto_itself(what, cell, chunk - each.chunk, now.piece)) return;
        write(cell, rank, now.index, owner, chunk, event::what::step);
      });
    stamp(rank, now.index, now.piece);
    return true;
  }

  /// A rank leaves: its caller may use its memory again afterwards.
  constexpr void exit(int rank) {
    const waits list = plan_.exit(rank, size_);
    for (int piece = 0; piece < pieces_; ++piece) join(rank, list, piece);
    if (Schedule::kind == collective::barrier)
      for (int peer = 0; peer < size_; ++peer)
        if (clock(rank)[peer] < 1) found_.note(flaw::not_synchronizing, rank, peer, steps_, -1);
    ++clock(rank)[rank];
    own_cells(rank, [&](std::size_t cell, int chunk) {
      write(cell, rank, steps_, rank, chunk, event::what::exit);
    });
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
        int index = each.step;  // an idle step stands for one that is taken before it
        while (stamped(peer, index, piece)[peer] == 0 || is_later(index, each.step)) --index;
        const int* const mark = stamped(peer, index, piece);
        if (mark[peer] <= mine[peer]) continue;  // known already, with all that it knew
        for (int i = 0; i < size_; ++i)
          if (mark[i] > mine[i]) mine[i] = mark[i];
      }
  }

  /// True if step `index` is taken after step `other`, though it is the lower one.
  constexpr bool is_later(int index, int other) const {
    return index != entered && lag_of(plan_, size_, index) > lag_of(plan_, size_, other);
  }

  /// Whether a rank has a chunk that is read or written: every buffer has so many chunks; only the
  /// output and scratch memory may be written, an output that is one chunk long or the root's alone
  /// only there. (Of inputs that are one chunk long or the root's alone the rest holds nothing.)
  constexpr bool has(int owner, const operand& it, int width, bool writes) const {
    const int chunks =
        it.where == buffer::scratch ? scratch_chunks_of(plan_, size_) : plan_.chunks(size_);
    if (owner < 0 || it.chunk < 0 || it.chunk + width > chunks) return false;
    if (!writes || it.where == buffer::scratch) return true;
    if (it.where != buffer::output) return false;
    if (holds_own_chunk(Schedule::kind, it.where)) return it.chunk == owner && width == 1;
    const bool roots_only =
        Schedule::kind == collective::reduce || Schedule::kind == collective::gather;
    return !roots_only || owner == root_of(plan_);
  }
  /// An all-reduce through slots folds these, into the rank's own output: executions rely on it.
  constexpr bool suits_slots(int owner, const operand& it, int rank, bool writes) const {
    if (!reads_slots<Schedule> || Schedule::kind != collective::all_reduce) return true;
    return writes ? owner == rank : it.where == buffer::slot;
  }
  constexpr bool is_given(const operand& it, const event& now, int width, bool writes) const {
    for (int k = 0; k < it.who.count; ++k) {
      const int owner = it.who.at(k, size_);
      if (has(owner, it, width, writes) && suits_slots(owner, it, now.rank, writes)) continue;
      found_.note(flaw::outside_memory, now.rank, owner, now.index, it.chunk);
      return false;
    }
    return true;
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
    for (int chunk = 0; chunk < chunks_; ++chunk)
      for (int piece = 0; piece < pieces_; ++piece) {
        const std::size_t slot = memory_.cell(rank, buffer::slot, chunk, piece);
        if (writes_[slot].rank < 0) use_cell(slot, chunk);
      }
  }

  /// A copy from a place to the same place, as of a root's own data in place, is not carried out.
  constexpr bool copies_onto_itself(const step& what, std::size_t cell, int i, int piece) const {
    if (what.completes && size_ > 1) return false;  // an average divides here
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
      found_.note(flaw::touched_before_entry, rank, owner, index, chunk);
    else if (last.time > clock(rank)[last.rank])
      found_.note(before(last.kind, flaw::read_too_early), rank, owner, index, chunk);
    reads_.push_back({rank, clock(rank)[rank], heads_[cell]});
    heads_[cell] = static_cast<int>(reads_.size()) - 1;
  }
  constexpr void write(std::size_t cell, int rank, int index, int owner, int chunk,
                       event::what kind) {
    use& last = writes_[cell];
    const int* const mine = clock(rank);
    if (last.rank < 0)
      found_.note(flaw::touched_before_entry, rank, owner, index, chunk);
    else if (last.time > mine[last.rank])
      found_.note(after(kind, before(last.kind, flaw::written_twice)), rank, owner, index, chunk);
    for (int i = heads_[cell]; i >= 0; i = reads_[at(i)].next)
      if (reads_[at(i)].time > mine[reads_[at(i)].rank])
        found_.note(after(kind, flaw::overwritten_too_early), rank, reads_[at(i)].rank, index,
                    chunk);
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

  Schedule plan_;
  int size_;
  int pieces_;
  int steps_;
  int chunks_;
  const fold_values& memory_;
  proof& found_;
  std::vector<int> clocks_;  ///< [rank][of]
  std::vector<int> stamps_;  ///< [rank][step + 1][piece][of], the clock after each step
  std::vector<use> writes_;  ///< the last write of each cell
  std::vector<int> heads_;   ///< the last reading of each cell since its last write, or -1
  std::vector<reading> reads_;
};

}  // namespace allfold::detail
