// Walks through a schedule as its waits allow, without running it: the ground of every proof.
#pragma once

#include <allfold/schedule/pipeline.hpp>
#include <vector>

namespace allfold {

/// What a walk comes upon: a rank enters, completes a step, or leaves.
struct event {
  enum class what : std::uint8_t { enter, step, exit };
  what kind;
  int rank;
  int index;  ///< of the step
  int piece;
};

/// How a walk ended. If not `finished`, `rank` stands before its step `index` (or its exit, if that
/// is the number of steps) and waits for `peer`, whom nothing can bring there.
struct trace_end {
  bool finished = true;
  bool impossible = false;  ///< the wait names a rank or a step that does not exist
  int rank = 0;
  int index = 0;
  int peer = 0;
};

namespace detail {

/// Ranks as state machines that advance whenever their waits are met. Waits are thresholds of
/// counters that only grow, so if this order of events gets stuck, every order does.
template <class Schedule>
class walker {
 public:
  constexpr walker(const Schedule& plan, int size, int pieces)
      : plan_{plan},
        size_{size},
        line_{plan, size, pieces},
        progress_(static_cast<std::size_t>(size), std::int64_t{0}),
        published_(static_cast<std::size_t>(size), std::int64_t{0}),
        pending_(static_cast<std::size_t>(size)),
        is_pending_(static_cast<std::size_t>(size), false) {}

  template <class Visitor>
  constexpr trace_end walk(Visitor& visit) {
    for (int rank = 0; rank < size_; ++rank) visit(event{event::what::enter, rank, entered, 0});
    std::vector<char> gone(static_cast<std::size_t>(size_), false);
    for (int left = size_; left > 0;) {
      bool moved = false;
      for (int rank = 0; rank < size_; ++rank) {
        if (gone[static_cast<std::size_t>(rank)]) continue;
        moved = advance(rank, visit) || moved;
        if (end_.impossible) return end_;
        if (progress_[static_cast<std::size_t>(rank)] < turns() || !may_leave(rank)) continue;
        visit(event{event::what::exit, rank, plan_.steps(size_), 0});
        gone[static_cast<std::size_t>(rank)] = true;
        moved = true;
        --left;
      }
      if (end_.impossible) return end_;
      if (!moved) {
        end_.finished = false;
        return end_;
      }
    }
    return trace_end{};
  }

 private:
  constexpr std::int64_t turns() const { return static_cast<std::int64_t>(line_.turns()); }

  /// Takes every step that the rank can take now.
  template <class Visitor>
  constexpr bool advance(int rank, Visitor& visit) {
    std::int64_t& done = progress_[static_cast<std::size_t>(rank)];
    const std::int64_t before = done;
    while (done < turns()) {
      const auto turn = static_cast<std::uint64_t>(done);
      const int index = line_.step_of(turn);
      const int piece = line_.piece_of(turn);
      if (line_.is_live(piece)) {
        step& now = pending_[static_cast<std::size_t>(rank)];
        if (!is_pending_[static_cast<std::size_t>(rank)]) now = plan_.at(rank, size_, index);
        is_pending_[static_cast<std::size_t>(rank)] = !met(now.waits, rank, index, piece);
        if (is_pending_[static_cast<std::size_t>(rank)]) break;
        if (!now.idle()) visit(event{event::what::step, rank, index, piece}, now);
        ++done;
        if (!now.idle()) published_[static_cast<std::size_t>(rank)] = done;
        continue;
      }
      ++done;
    }
    if (done == turns()) published_[static_cast<std::size_t>(rank)] = done;
    return done != before;
  }

  constexpr bool may_leave(int rank) {
    const waits list = plan_.exit(rank, size_);
    for (int piece = 0; piece < line_.pieces(); ++piece)
      if (!met(list, rank, plan_.steps(size_), piece)) return false;
    return true;
  }

  constexpr bool met(const waits& list, int rank, int index, int piece) {
    for (const wait& each : list)
      for (int i = 0; i < each.who.count; ++i) {
        const int peer = each.who.at(i, size_);
        const bool exists = 0 <= peer && entered <= each.step && each.step < plan_.steps(size_);
        const bool reached =
            exists && (each.step == entered || reached_by(rank, peer, each.step, piece));
        if (reached) continue;
        end_ = {false, !exists, rank, index, peer};
        return false;
      }
    return true;
  }

  /// Of another's idle steps a rank hears only with its next one that is not.
  constexpr bool reached_by(int rank, int peer, int index, int piece) const {
    const auto& progress = peer == rank ? progress_ : published_;
    return progress[static_cast<std::size_t>(peer)] >=
           static_cast<std::int64_t>(line_.progress_after(index, piece));
  }

  Schedule plan_;
  int size_;
  pipeline<Schedule> line_;
  std::vector<std::int64_t> progress_;
  std::vector<std::int64_t> published_;  ///< as others see it
  std::vector<step> pending_;            ///< the step that a rank stands before, once asked for
  std::vector<char> is_pending_;
  trace_end end_;
};

}  // namespace detail

/// Calls `visit(event)` for every entry and exit and `visit(event, step)` for every step that is
/// not idle, in one order that the waits allow, and says how it ended.
template <schedule Schedule, class Visitor>
constexpr trace_end trace(const Schedule& plan, int size, int pieces, Visitor&& visit) {
  return detail::walker<Schedule>{plan, size, pieces}.walk(visit);
}

}  // namespace allfold
