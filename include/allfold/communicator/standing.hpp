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
  bool elsewhere;           ///< in a collective of another level of the same ranks
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
  seen.elsewhere = its.elsewhere.load() > 0;
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

/// A rank as one observer sees it.
class sighting {
 public:
  using clock = std::chrono::steady_clock;

  void look(const standing& its, clock::time_point now) {
    const std::uint64_t moves = its.moves();
    const bool was_watched = looked_ != clock::time_point{} && now - looked_ < short_while;
    if (looked_ == clock::time_point{} || moves != moves_) {
      moved_ = was_watched;
      since_ = now;
    }
    moves_ = moves;
    looked_ = now;
  }
  /// Since when it is known to be where it is.
  clock::time_point since() const { return since_; }
  /// "was last seen to move 20 ms ago", or since when it is known not to have moved.
  std::string in_words() const {
    const std::string still = time_since(since_);
    return moved_ ? "was last seen to move " + still + " ago"
                  : "has not moved for at least " + still;
  }
  /// "20 ms".
  static std::string time_since(clock::time_point then) {
    using std::chrono::milliseconds;
    return std::to_string(std::chrono::duration_cast<milliseconds>(clock::now() - then).count()) +
           " ms";
  }

 private:
  /// What has changed since an older look may have done so long ago.
  static constexpr std::chrono::milliseconds short_while{100};

  std::uint64_t moves_ = 0;
  clock::time_point looked_{}, since_{};
  bool moved_ = false;  ///< while it was looked at
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
