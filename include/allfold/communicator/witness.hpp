// What a rank says of others when its collective fails because of them.
#pragma once

#include <allfold/communicator/lookout.hpp>

namespace allfold::host {

/// A rank in a collective, the `number`-th, as a witness of what others do.
template <class Team>
class witness {
 public:
  /// `mine`: the collective in words. `eyes`: what the rank has seen.
  witness(Team& team, const lookout<Team>& eyes, int rank, std::uint64_t number, std::string mine)
      : team_{team}, eyes_{eyes}, rank_{rank}, number_{number}, mine_{std::move(mine)} {}

  /// Rank `lost` does not come any more, and this one waits for `peer`.
  std::string absence(int lost, int peer) const {
    const standing its = standing_of(team_, lost);
    std::string text = named(team_, lost);
    if (its.left)
      text += std::string{" has left"} + (its.thrown ? " because of an exception" : "") +
              " after completing " + done_by(team_, lost);
    else if (its.inside)
      text += " is gone: it was in " + team_.words_of(lost, its.completed);
    else
      text += " is gone after completing " + done_by(team_, lost);
    text += its.left ? ", and it left " + since_it_left(lost) + " ago"
                     : ", and " + eyes_.of(lost).in_words();
    return text + ", and " + name_of(rank_) + " waits for " +
           (lost == peer ? "it" : name_of(peer)) + " in " + mine_;
  }
  /// This rank has waited for `peer` for `limit`, and for as long as it may. Late is the rank at
  /// the end of those that wait for each other.
  std::string lateness(int peer, sighting::clock::duration limit) const {
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
    const int late = eyes_.late();
    std::string text = name_of(rank_) + " has waited " + std::to_string(waited) + " ms in " +
                       mine_ + " for " + named(team_, peer);
    if (late != peer) text += ", which waits for " + named(team_, late);
    const standing its = standing_of(team_, late);
    if (its.inside && its.completed >= number_)
      text += ", which is in " + team_.words_of(late, its.completed) +
              (its.folding ? " and does not come out of a fold" : " but does not go on");
    else if (its.inside)
      text += ", which is still in " + team_.words_of(late, its.completed);
    else
      text += std::string{", which "} +
              (its.elsewhere ? "is in a collective of another level and " : "") +
              "has not entered it: it has completed " + done_by(team_, late);
    return text + "; it " + eyes_.of_late_in_words();
  }
  /// This rank could copy only `copied` of `bytes` bytes of a peer's memory, for the reason `why`.
  std::string failed_copy(int peer, std::size_t copied, std::size_t bytes,
                          const std::string& why) const {
    const standing its = standing_of(team_, peer);
    return name_of(rank_) + " could copy " + std::to_string(copied) + " of " +
           std::to_string(bytes) + " bytes of the memory of " + named(team_, peer) + " in " +
           mine_ + ": " + why + "; it " +
           (its.inside ? "is in " + team_.words_of(peer, its.completed)
                       : "has completed " + done_by(team_, peer)) +
           ", and " + eyes_.of(peer).in_words();
  }
  /// This rank and a peer call something else in collective `number`, or did so before: who calls
  /// what, of the ranks that have entered the collective where the two part.
  std::string disagreement(int peer, std::uint64_t number) const {
    const std::uint64_t parting = parting_from(peer, number);
    std::string text = "the ranks call different collectives";
    int listed = 0;
    for (int each = 0; each < team_.size() && listed < 16; ++each) {
      if (team_.post_of(each, parting).stamp.load() != parting + 1) continue;
      ++listed;
      text += "\n  " + name_of(each) + " calls " + team_.words_of(each, parting);
    }
    return text;
  }

 private:
  static std::string name_of(int rank) { return "rank " + std::to_string(rank); }
  std::string since_it_left(int rank) const {
    const std::chrono::nanoseconds then{team_.of(rank).left_at.load()};
    return sighting::time_since(sighting::clock::time_point{then});
  }

  /// Where this rank and a peer began to disagree: not later than collective `number`.
  std::uint64_t parting_from(int peer, std::uint64_t number) const {
    constexpr std::uint64_t kept =
        window - 2 * longest_lead;  // nobody writes these posts again yet
    std::uint64_t first = number < kept ? 0 : number - kept + 1;
    while (first < number &&
           team_.post_of(peer, first).fingerprint == team_.post_of(rank_, first).fingerprint)
      ++first;
    return first;
  }

  Team& team_;
  const lookout<Team>& eyes_;
  int rank_;
  std::uint64_t number_;
  std::string mine_;
};

}  // namespace allfold::host
