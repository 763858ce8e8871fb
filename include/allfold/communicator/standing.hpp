// What a rank of a team is doing, as others see it.
#pragma once

#include <allfold/communicator/post.hpp>
#include <chrono>
#include <string>

namespace allfold::host {

/// A rank at one moment. It may run on meanwhile: each number is true by itself.
struct standing {
  std::uint64_t completed;  ///< collectives; the number of the one that it is in or enters next
  std::uint64_t turns;      ///< over all collectives
  bool inside;              ///< of a collective, not between two
  bool folding;             ///< and there in a fold or a copy, or in the user's operation
  bool left;
  bool thrown;    ///< it has left because of an exception
  int waits_for;  ///< a rank, or −1

  /// Grows with whatever the rank does in collectives.
  std::uint64_t moves() const { return 2 * completed + turns + (inside ? 1 : 0); }
};

/// Where a rank of the team stands at this moment, as far as it can be seen from outside.
template <class Team>
standing standing_of(Team& team, int rank) {
  const auto& its = team.of(rank);
  standing seen{};
  seen.left = its.left.load();
  seen.thrown = its.left_by_exception.load();
  seen.completed = its.completed.load();
  seen.turns = its.progress.load();
  seen.inside = team.post_of(rank, seen.completed).stamp.load() == seen.completed + 1;
  seen.folding = its.folding.load();
  seen.waits_for = its.waits_for.load() - 1;
  return seen;
}

/// The rank at the end of a chain of ranks that each wait for the next, beginning with `first`,
/// for which `observer` waits. Not further than to a rank that waits for the observer.
template <class Team>
int end_of_waits(Team& team, int first, int observer) {
  int rank = first;
  for (int i = 0; i < team.size(); ++i) {
    const int next = standing_of(team, rank).waits_for;
    if (next < 0 || next == observer) break;
    rank = next;
  }
  return rank;
}

/// A rank as one observer sees it for a while.
class sighting {
 public:
  using clock = std::chrono::steady_clock;

  template <class Team>
  void look(Team& team, int rank, clock::time_point now) {
    const std::uint64_t moves = standing_of(team, rank).moves();
    if (rank == rank_ && moves == moves_) return;
    moved_ = rank == rank_;
    changed_ = rank_ >= 0;
    rank_ = rank;
    moves_ = moves;
    since_ = now;
  }
  /// The rank that was looked at, or −1.
  int rank() const { return rank_; }
  /// "was last seen to move 20 ms ago", or since when it is known not to have moved.
  std::string in_words() const {
    return (moved_ ? "was last seen to move " : "has not moved for at least ") + still() +
           (moved_ ? " ago" : "");
  }
  /// The same where all of the time is said already.
  std::string in_words_meanwhile() const {
    return moved_ || changed_ ? in_words() : "has not moved meanwhile";
  }

 private:
  std::string still() const {
    using std::chrono::milliseconds;
    const auto time = std::chrono::duration_cast<milliseconds>(clock::now() - since_);
    return std::to_string(time.count()) + " ms";
  }

  int rank_ = -1;
  std::uint64_t moves_ = 0;
  clock::time_point since_{};
  bool moved_ = false;    ///< while it was looked at
  bool changed_ = false;  ///< another was looked at before
};

/// "rank 3 (its process 4711 is stopped)".
template <class Team>
std::string named(Team& team, int rank) {
  const std::string state = team.state_of(rank);
  return "rank " + std::to_string(rank) + (state.empty() ? "" : " (" + state + ")");
}

/// "3 collectives, the last barrier #2 (…) at train.cpp:12".
template <class Team>
std::string done_by(Team& team, int rank) {
  const std::uint64_t completed = standing_of(team, rank).completed;
  std::string text = std::to_string(completed) + (completed == 1 ? " collective" : " collectives");
  if (completed > 0) text += ", the last " + team.words_of(rank, completed - 1);
  return text;
}

}  // namespace allfold::host
