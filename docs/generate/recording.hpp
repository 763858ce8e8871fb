// What a schedule does on some ranks, in rounds: everything that can happen at the same time.
#pragma once

#include <allfold/allfold.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace allfold::docs {

/// One step of one rank, or its exit.
struct action {
  int rank;
  int index;  ///< of the step; the number of steps for the exit
  int round;  ///< 1 for what depends on entries alone; one more than what it depends on otherwise
  step what;
};

/// In chunks.
struct traffic {
  int read = 0, written = 0;
};

/// The actions of all ranks. Data that are moved onto themselves, in place, take no round.
template <class Schedule>
class recording {
 public:
  explicit recording(int ranks, Schedule schedule = {}) : plan{schedule}, size{ranks} {
    steps = plan.steps(size);
    ends.assign(at(size), std::vector<int>(at(steps + 1), -1));
    for (auto& each : ends) each[0] = 0;
    trace(plan, size, 1, *this);
  }

  void operator()(const event& now) {
    if (now.kind != event::what::exit) return;
    step leaving;
    leaving.waits = plan.exit(now.rank, size);
    exits.push_back({now.rank, steps, ready(now.rank, steps, leaving.waits), leaving});
  }
  void operator()(const event& now, const step& what) {
    const bool still = stays(what);
    const int round = ready(now.rank, now.index, what.waits) + (still ? 0 : 1);
    ends[at(now.rank)][at(now.index + 1)] = round;
    if (still) return;
    actions.push_back({now.rank, now.index, round, what});
    rounds = std::max(rounds, round);
  }

  /// In place, input and output are the same memory.
  static buffer place(buffer where) { return where == buffer::output ? buffer::input : where; }
  /// True for a step that copies data onto themselves.
  static bool stays(const step& what) {
    if (what.sources.count != 1 || what.targets.count != 1) return false;
    const operand &from = *what.sources.begin(), &to = *what.targets.begin();
    return from.who.count == 1 && to.who.count == 1 && from.who.first == to.who.first &&
           place(from.where) == place(to.where) && from.chunk == to.chunk;
  }

  /// What rank `rank` moves, counted as world.traffic() does.
  traffic moved(int rank) const {
    traffic sum;
    const auto count = [](const auto& operands, int width, int& total) {
      for (const operand& each : operands) total += width * each.who.count;
    };
    for (const action& each : actions) {
      if (each.rank != rank) continue;
      count(each.what.sources, each.what.width, sum.read);
      count(each.what.targets, each.what.width, sum.written);
    }
    return sum;
  }

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  Schedule plan;
  int size;
  int steps;
  int rounds = 0;
  std::vector<action> actions, exits;

 private:
  /// The round after which a rank can take its step `index`.
  int ready(int rank, int index, const waits& list) const {
    int round = end_of(rank, index - 1);
    for (const wait& each : list)
      for (int i = 0; i < each.who.count; ++i)
        round = std::max(round, end_of(each.who.at(i, size), each.step));
    return round;
  }
  /// The round that completes a step; an idle one is complete with the one before.
  int end_of(int rank, int index) const {
    const std::vector<int>& mine = ends[at(rank)];
    while (mine[at(index + 1)] < 0) --index;
    return mine[at(index + 1)];
  }

  std::vector<std::vector<int>> ends;  ///< [rank][step + 1]: the round that completes the step
};

/// A held value in words: "(0 + 1) + 2". Every pair of parentheses is one fold.
inline std::string words(const fold_values& memory, int held) {
  const auto& it = memory[held];
  if (it.rank >= 0) return std::to_string(it.rank);
  std::string text;
  for (int i = 0; i < it.count; ++i) {
    const int part = memory.operand_of(it, i);
    const bool bare = memory[part].rank >= 0 || memory[part].count == 1;
    text += (i > 0 ? " + " : "") + (bare ? words(memory, part) : "(" + words(memory, part) + ")");
  }
  return text;
}

/// The contributions that a held value is folded from, in their order.
inline void leaves(const fold_values& memory, int held, std::vector<int>& list) {
  const auto& it = memory[held];
  if (it.rank >= 0)
    list.push_back(held);
  else
    for (int i = 0; i < it.count; ++i) leaves(memory, memory.operand_of(it, i), list);
}

}  // namespace allfold::docs
