// Runs a schedule's ranks in a random order, one access to memory at a time: what may go wrong,
// does.
#pragma once

#include "script.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

/// What a chunk holds in a rehearsal: who contributed to it how often, and how it was folded.
struct content {
  std::uint64_t expression = 0;    ///< tells expressions apart, and their orders
  std::uint64_t contributors = 0;  ///< the same whatever the order
  int completions = 0;             ///< how many folds in it said that they complete
  bool is_complete = false;        ///< the last one did

  friend bool operator==(const content&, const content&) = default;

  static std::uint64_t mixed(std::uint64_t value) {  // splitmix64's finalizer
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
  }
  static std::uint64_t joined(std::uint64_t a, std::uint64_t b) {
    return mixed(mixed(a + 0x9e3779b97f4a7c15u) ^ b);
  }
  static content of(int rank, int chunk, int piece) {
    const std::uint64_t number =
        joined(joined(static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(chunk)),
               static_cast<std::uint64_t>(piece));
    return {number, number};
  }
  static content rubbish(std::uint64_t number) { return {number, number, -1, false}; }
  static content folded(const std::vector<content>& operands, bool completes) {
    if (operands.size() == 1 && !completes) return operands[0];  // a copy
    content all{completes ? 2u : 3u, 0, completes ? 1 : 0, completes};
    for (const content& each : operands) {
      all.expression = joined(all.expression, each.expression);
      all.contributors += each.contributors;
      all.completions += each.completions;
    }
    return all;
  }
  /// The value of an expression.
  static content of(const allfold::fold_values& memory, int value, int piece) {
    if (value == allfold::fold_values::undefined) return {};
    const allfold::fold_values::value& it = memory[value];
    if (it.rank >= 0) return of(it.rank, it.chunk, piece);
    std::vector<content> operands;
    for (int i = 0; i < it.count; ++i)
      operands.push_back(of(memory, memory.operand_of(it, i), piece));
    return folded(operands, it.complete);
  }
};

/// One run of all ranks. A rank's memory holds rubbish before it enters and after it has left.
class rehearsal {
 public:
  /// The script must outlive the rehearsal.
  rehearsal(const script& plan, int pieces, bool in_place)
      : plan_{plan},
        size_{plan.size},
        pieces_{pieces},
        in_place_{in_place},
        chunks_{std::max(plan.chunks, plan.scratch_chunks)},
        order_{fold_order(plan)} {
    int longest_lag = 0;
    for (const int lag : plan.lags) longest_lag = std::max(longest_lag, lag);
    for (int round = 0; round < pieces + longest_lag; ++round)
      for (int index = 0; index < plan.step_count(); ++index) {
        const int piece = round - plan.lags[at(index)];
        if (0 <= piece && piece < pieces) agenda_.push_back({index, piece});
      }
  }

  /// True if all ranks come to their ends and every result is what fold_order says.
  bool succeeds(std::uint64_t seed) {
    drawn_ = seed;
    memory_.assign(at(size_ * 4 * chunks_ * pieces_), {});
    done_.assign(at(size_ * (plan_.step_count() + 1) * pieces_), false);
    ranks_.assign(at(size_), {});
    right_ = true;
    for (content& each : memory_) each = rubbish();
    std::vector<std::uint64_t> urgency(at(size_));
    for (std::uint64_t& each : urgency) each = random();
    const bool fair = seed % 2 == 0;  // else whoever is urgent stays so for a while
    for (int left = size_; left > 0;) {
      if (fair || random() % 16 == 0) urgency[random() % urgency.size()] = random();
      int best = -1;
      for (int rank = 0; rank < size_; ++rank)
        if (can_go_on(rank) && (best < 0 || urgency[at(rank)] > urgency[at(best)])) best = rank;
      if (best < 0) return false;
      if (fair) urgency[at(best)] = random();
      if (goes_on(best)) --left;
    }
    return right_;
  }

 private:
  struct turn {
    int index;
    int piece;
  };
  /// One read or write of one chunk.
  struct access {
    std::size_t cell;
    bool writes;
    int item;  ///< which of the step's `width` chunks
  };
  struct state {
    bool has_entered = false;
    bool has_left = false;
    std::size_t turn = 0;
    bool begun = false;
    bool completes = false;
    std::size_t next = 0;                        ///< access of the step begun
    std::vector<access> accesses;                ///< of the step begun
    std::vector<std::vector<content>> operands;  ///< read so far, for each item
  };

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  std::uint64_t random() { return content::mixed(drawn_ += 0x9e3779b97f4a7c15u); }
  content rubbish() { return content::rubbish(random()); }
  std::size_t cell(int rank, allfold::buffer where, int chunk, int piece) const {
    if (in_place_ && where == allfold::buffer::output) where = allfold::buffer::input;
    return at(((rank * 4 + static_cast<int>(where)) * chunks_ + chunk) * pieces_ + piece);
  }
  std::size_t cell_of(const allfold::operand& it, int i, int item, int piece) const {
    return cell(it.who.at(i, size_), it.where, it.chunk + item, piece);
  }
  std::vector<bool>::reference done(int rank, int index, int piece) {
    return done_[at((rank * (plan_.step_count() + 1) + index + 1) * pieces_ + piece)];
  }

  bool met(const allfold::waits& list, int piece) {
    for (const allfold::wait& each : list)
      for (int i = 0; i < each.who.count; ++i) {
        const int peer = each.who.at(i, size_);
        if (peer < 0 || each.step < allfold::entered || each.step >= plan_.step_count())
          return false;
        if (!done(peer, each.step, piece)) return false;
      }
    return true;
  }
  bool can_go_on(int rank) {
    const state& it = ranks_[at(rank)];
    if (it.has_left) return false;
    if (!it.has_entered || it.begun) return true;
    if (it.turn < agenda_.size()) {
      const turn now = agenda_[it.turn];
      return met(plan_.steps[at(rank)][at(now.index)].waits, now.piece);
    }
    for (int piece = 0; piece < pieces_; ++piece)
      if (!met(plan_.exits[at(rank)], piece)) return false;
    return true;
  }

  /// Does what comes next; true if that was to leave.
  bool goes_on(int rank) {
    state& it = ranks_[at(rank)];
    if (!it.has_entered) {
      enter(rank);
      return false;
    }
    if (it.turn == agenda_.size()) {
      leave(rank);
      return true;
    }
    const turn now = agenda_[it.turn];
    if (!it.begun) {
      begin(it, plan_.steps[at(rank)][at(now.index)], now.piece);
    } else if (it.next < it.accesses.size()) {
      carry_out(it, it.accesses[it.next++]);
    }
    if (it.next == it.accesses.size()) {
      it.begun = false;
      ++it.turn;
      const bool idle = plan_.steps[at(rank)][at(now.index)].idle();
      if (!idle || it.turn == agenda_.size() || random() % 2 == 0) publish(rank);
    }
    return false;
  }

  /// Tells the others of all steps so far. Of one without work they may hear with a later one only.
  void publish(int rank) {
    for (std::size_t i = 0; i < ranks_[at(rank)].turn; ++i)
      done(rank, agenda_[i].index, agenda_[i].piece) = true;
  }
  /// The caller may write to its memory until here.
  void enter(int rank) {
    spoil(rank);
    const allfold::buffer given =
        plan_.reads_slots ? allfold::buffer::slot : allfold::buffer::input;
    for (int piece = 0; piece < pieces_; ++piece) {
      for (int chunk = 0; chunk < plan_.chunks; ++chunk)
        if (contributes(plan_.kind, plan_.root, rank, chunk))
          memory_[cell(rank, given, chunk, piece)] = content::of(rank, chunk, piece);
      done(rank, allfold::entered, piece) = true;
    }
    ranks_[at(rank)].has_entered = true;
  }

  void begin(state& it, const allfold::step& now, int piece) {
    it.begun = true;
    it.completes = now.completes;
    it.next = 0;
    it.accesses.clear();
    it.operands.assign(at(now.width), {});
    if (now.sources.empty()) return;
    for (int item = 0; item < now.width; ++item) {
      const std::size_t first = it.accesses.size();
      for (const allfold::operand& each : now.sources)
        for (int i = 0; i < each.who.count; ++i)
          it.accesses.push_back({cell_of(each, i, item, piece), false, item});
      const bool copies = it.accesses.size() == first + 1 && !now.completes;
      const std::size_t source = it.accesses[first].cell;
      for (const allfold::operand& each : now.targets)
        for (int i = 0; i < each.who.count; ++i) {
          const std::size_t target = cell_of(each, i, item, piece);
          if (copies && target == source) continue;  // stays where it is
          it.accesses.push_back({target, true, item});
        }
    }
  }
  void carry_out(state& it, const access& now) {
    if (now.writes)
      memory_[now.cell] = content::folded(it.operands[at(now.item)], it.completes);
    else
      it.operands[at(now.item)].push_back(memory_[now.cell]);
  }

  /// Looks at the result; the caller may write to its memory from here on.
  void leave(int rank) {
    for (int piece = 0; piece < pieces_; ++piece)
      for (int chunk = 0; chunk < plan_.chunks; ++chunk)
        right_ = right_ && is_right(rank, chunk, piece);
    spoil(rank);
    if (plan_.kind == allfold::collective::barrier)
      for (const state& each : ranks_) right_ = right_ && each.has_entered;
    ranks_[at(rank)].has_left = true;
  }
  /// Writes to all memory of a rank but its slot, which is the library's.
  void spoil(int rank) {
    for (const allfold::buffer where :
         {allfold::buffer::input, allfold::buffer::output, allfold::buffer::scratch})
      for (int chunk = 0; chunk < chunks_; ++chunk)
        for (int piece = 0; piece < pieces_; ++piece)
          memory_[cell(rank, where, chunk, piece)] = rubbish();
  }
  bool is_right(int rank, int chunk, int piece) const {
    const auto want = allfold::expected(plan_.kind, plan_.root, rank, chunk);
    if (!want.anything) return true;
    const content& held = memory_[cell(rank, allfold::buffer::output, chunk, piece)];
    if (!want.everyone) return held == content::of(want.rank, want.chunk, piece);
    std::uint64_t contributors = 0;
    for (int peer = 0; peer < size_; ++peer)
      contributors += content::of(peer, chunk, piece).contributors;
    const int promised = order_.at(rank, allfold::buffer::output, chunk, 0);
    return held == content::of(order_, promised, piece) && held.contributors == contributors &&
           held.completions == 1 && held.is_complete;
  }

  const script& plan_;
  int size_;
  int pieces_;
  bool in_place_;
  int chunks_;
  std::vector<turn> agenda_;  ///< every rank's
  allfold::fold_values order_;
  std::uint64_t drawn_ = 0;
  std::vector<content> memory_;
  std::vector<bool> done_;
  std::vector<state> ranks_;
  bool right_ = true;
};
