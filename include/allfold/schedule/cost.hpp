// What a schedule will cost, by the α-β-γ model, worked out from its steps.
// Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
// 2005, whose model this is; what they do by hand for each algorithm, the walk does for any.
#pragma once

#include <algorithm>
#include <allfold/schedule/trace.hpp>

namespace allfold {

/// What a machine takes for each thing that a schedule does, in seconds.
struct machine_cost {
  double call = 0;         ///< for a rank to enter a collective
  double latency = 0;      ///< α: until a rank sees what another has published
  double message = 0;      ///< for each other rank whose memory a step uses, besides its bytes
  double byte = 0;         ///< β: for each byte of another rank's memory, read or written
  double folded_byte = 0;  ///< γ: for each byte that a step reads, its own included
};

namespace detail {

/// The moments at which ranks get to where they are, in one order that the waits allow.
template <class Schedule>
class timetable {
 public:
  constexpr timetable(const Schedule& plan, int size, double bytes, int pieces,
                      const machine_cost& costs)
      : plan_{plan},
        line_{plan, size, pieces},
        costs_{costs},
        size_{size},
        chunk_bytes_{bytes / plan.chunks(size) / pieces},
        now_(static_cast<std::size_t>(kept()), costs.call),
        read_(now_.size(), 0.0),
        written_(now_.size(), 0.0),
        reached_(now_.size()) {}

  /// A rank takes a step.
  constexpr void take(int rank, int index, int piece, const step& it) {
    const std::size_t self = at(rank);
    const double bytes = it.width * chunk_bytes_;
    double duration = 0;
    for (const operand& each : it.sources) {
      duration += each.who.count * bytes * costs_.folded_byte;
      for (int i = 0; i < each.who.count; ++i)
        duration += moved(rank, each.who.at(i, size_), bytes, read_, written_);
    }
    for (const operand& each : it.targets)
      for (int i = 0; i < each.who.count; ++i)
        duration += moved(rank, each.who.at(i, size_), bytes, written_, read_);
    now_[self] = ready(rank, it.waits, piece) + duration;
    // Of steps in which it did nothing the others hear only now.
    reached_[self].resize(static_cast<std::size_t>(line_.progress_after(index, piece)), now_[self]);
  }

  /// When a rank may leave, having taken all its steps.
  constexpr double leaves(int rank) const {
    double last = now_[at(rank)];
    const waits list = plan_.exit(rank, size_);
    for (int piece = 0; piece < line_.pieces(); ++piece)
      last = std::max(last, ready(rank, list, piece));
    return last;
  }
  /// What no order of the steps can beat: each rank has one way in and one way out, and some
  /// rank's are the busiest.
  constexpr double busiest() const {
    double most = 0;
    for (std::size_t i = 0; i < now_.size(); ++i) most = std::max({most, read_[i], written_[i]});
    return costs_.call + most * costs_.byte;
  }
  constexpr const pipeline<Schedule>& line() const { return line_; }

 private:
  constexpr int kept() const { return same_for_all_ranks<Schedule> ? 1 : size_; }
  constexpr std::size_t at(int rank) const {
    return same_for_all_ranks<Schedule> ? 0 : static_cast<std::size_t>(rank);
  }

  /// The time for bytes to or from a peer's memory, counted on both sides.
  constexpr double moved(int rank, int peer, double bytes, std::vector<double>& mine,
                         std::vector<double>& its) {
    if (peer == rank) return 0;
    mine[at(rank)] += bytes;
    its[at(peer)] += bytes;
    return costs_.message + bytes * costs_.byte;
  }
  /// When a rank has seen all that it waits for.
  constexpr double ready(int rank, const waits& list, int piece) const {
    double moment = now_[at(rank)];
    for (const wait& each : list)
      for (int i = 0; i < each.who.count; ++i) {
        const int peer = each.who.at(i, size_);
        if (peer == rank) continue;
        double reached = costs_.call;
        if (each.step != entered) {
          const auto turn = static_cast<std::size_t>(line_.progress_after(each.step, piece)) - 1;
          const std::vector<double>& known = reached_[at(peer)];
          reached = turn < known.size() ? known[turn] : now_[at(peer)];
        }
        moment = std::max(moment, reached + costs_.latency);
      }
    return moment;
  }

  Schedule plan_;
  pipeline<Schedule> line_;
  machine_cost costs_;
  int size_;
  double chunk_bytes_;
  std::vector<double> now_;                   ///< by rank
  std::vector<double> read_, written_;        ///< bytes that came to a rank, or left it
  std::vector<std::vector<double>> reached_;  ///< by rank: after how many turns when
};

}  // namespace detail

/// How long a sound schedule takes, in seconds, from all ranks' entering together until the last
/// one leaves, for `bytes` bytes in all chunks together, cut into `pieces`. Ranks work and move
/// bytes at the same time, each one step after the other.
template <schedule Schedule>
constexpr double predicted_seconds(const Schedule& plan, int size, double bytes,
                                   const machine_cost& costs, int pieces = 1) {
  detail::timetable<Schedule> table{plan, size, bytes, pieces, costs};
  double last = 0;
  if constexpr (same_for_all_ranks<Schedule>) {
    const auto& line = table.line();
    for (int round = 0; round < line.rounds(); ++round)
      for (int index = 0; index < line.steps(); ++index)
        if (const int piece = line.piece_of(round, index); line.is_live(piece))
          table.take(0, index, piece, plan.at(0, size, index));
    last = table.leaves(0);
  } else {
    trace(plan, size, pieces, [&](const event& now, const auto&... it) {
      if constexpr (sizeof...(it) > 0) table.take(now.rank, now.index, now.piece, it...);
    });
    for (int rank = 0; rank < size; ++rank) last = std::max(last, table.leaves(rank));
  }
  return std::max(last, table.busiest());
}

}  // namespace allfold
