// What a rank that waits for long sees of the other ranks.
#pragma once

#include <allfold/communicator/patience.hpp>
#include <allfold/communicator/standing.hpp>
#include <vector>

namespace allfold::host {

/// One rank's lookout for the others of its team. Looks at the rank that is at the end of those
/// that wait for each other each time, and now and then at all: so it can be said of any of them
/// since when it has not moved. Used by that rank's thread alone.
template <class Team>
class lookout {
 public:
  using clock = patience::clock;

  lookout(Team& team, int rank)
      : team_{team}, rank_{rank}, seen_(static_cast<std::size_t>(team.size())) {}

  /// Looks, while this rank waits for `peer`. `begins`: the wait does.
  void look(int peer, clock::time_point now, bool begins) {
    if (begins) began_ = now;
    late_ = end_of_waits(team_, peer, rank_);
    look_at(late_, now);
    looks_around_ = asks_.is_due(now);
    for (int each = 0; looks_around_ && each < team_.size(); ++each) look_at(each, now);
  }
  /// The rank that `peer` waits for in the end, or `peer` itself.
  int late() const { return late_; }
  /// True if that rank is in a collective of another level, and not in one of this team's: those
  /// who wait for it there see more of it.
  bool late_is_elsewhere() const {
    const standing its = standing_of(team_, late_);
    return its.elsewhere && !its.inside;
  }
  /// `peer` if it has left; now and then also any rank that can't complete collective `number` any
  /// more, since it has left or its process has ended: the awaited one may wait for that one, or
  /// not come here for long. Else −1. Asks the system.
  int find_lost(int peer, std::uint64_t number) {
    if (team_.of(peer).left.load()) return peer;
    for (int each = 0; looks_around_ && each < team_.size(); ++each)
      if (each != rank_ && (team_.of(each).left.load() || team_.dead(each)) &&
          (each == peer || team_.of(each).completed.load() <= number))
        return each;
    return -1;
  }

  void look_at(int rank, clock::time_point now) {
    seen_[static_cast<std::size_t>(rank)].look(standing_of(team_, rank), now);
  }
  const sighting& of(int rank) const { return seen_[static_cast<std::size_t>(rank)]; }
  /// "has not moved meanwhile", of the late rank and the wait as a whole, or since when it has not.
  std::string of_late_in_words() const {
    const sighting& its = of(late_);
    return its.since() <= began_ ? "has not moved meanwhile" : its.in_words();
  }

 private:
  Team& team_;
  int rank_;
  std::vector<sighting> seen_;  ///< by rank
  int late_ = -1;
  bool looks_around_ = false;
  clock::time_point began_{};
  now_and_then asks_{std::chrono::milliseconds{10}};
};

}  // namespace allfold::host
