// After a failure: how the ranks that are left agree on who they are, and form a team of their own.
#pragma once

#include <allfold/communicator/membership.hpp>
#include <allfold/communicator/standing.hpp>
#include <source_location>
#include <vector>

namespace allfold::host {

/// How ranks go on without those that are lost. The same on every rank.
struct shrink_options {
  /// How long a rank is waited for that lives and does not come, since the first has come; after
  /// that the others go on without it. Zero: the time limit of the communicator.
  std::chrono::steady_clock::duration timeout{};
  /// Ranks that are processes: one that is left out while it is stopped, or in the midst of a fold,
  /// might write to the others' buffers if it went on. So it is ended, by SIGKILL.
  bool ends_disturbers = true;
};

/// How long a rank waits for the others to come.
template <class Team>
patience::clock::duration limit_of(const shrink_options& how, const Team& team) {
  return how.timeout > how.timeout.zero() ? how.timeout : team.options().timeout;
}

/// A rank's part in the agreement of a team on who is left.
///
/// Every rank that comes claims its place. When each of the others has come, or can't any more, or
/// is too late, the lowest rank that is there proposes: it writes down who is left, and makes their
/// team. One compare-and-swap makes a proposal count; there is no other moment at which anything is
/// decided, and nothing is taken back. If that rank does not propose, because it ends or is
/// stopped, the next one does, or any: whichever proposal is first counts, and every rank follows.
template <class Team>
class succession {
 public:
  succession(Team& team, int rank, const shrink_options& how, std::source_location where)
      : team_{team}, rank_{rank}, limit_{limit_of(how, team)}, where_{where} {}

  /// Returns the ranks that are left, this one among them, in order. Throws usage_error if this
  /// rank has come before, rank_lost_error if it is left out.
  std::vector<int> agree() {
    if (own().survives.load() == survival::claimed && is_left(rank_)) refuse_again();
    own().survives.store(survival::claimed);
    team_.fail(failure_kind::misuse, rank_,
               "rank " + std::to_string(rank_) + " goes on with those that are left, shrink at " +
                   place_of(where_));
    patience waiting{team_.options().crowded, limit_};
    patience settled{team_.options().crowded, grace};
    while (team_.decider() < 0) {
      if (!waiting.pass()) continue;
      if (!all_accounted_for() && !waiting.expired()) continue;
      if (first_claim() == rank_ || settled.expired()) propose();
    }
    if (!is_left(rank_)) refuse_late();
    return team_.proposed_by(team_.decider());
  }
  /// The options of the team that goes on, of the ranks that are left.
  team_options options_for(const std::vector<int>& left) const {
    team_options options = team_.options();
    options.crowded = options.crowded && team_.crowds(left);
    return options;
  }

 private:
  /// How long all wait for the rank that is to propose.
  static constexpr std::chrono::seconds grace{1};

  record& own() const { return team_.of(rank_); }
  /// True if the rank can't come any more.
  bool is_out(int rank) const {
    const record& its = team_.of(rank);
    return its.survives.load() == survival::given_up || its.left.load() || team_.dead(rank);
  }
  bool has_claimed(int rank) const {
    return team_.of(rank).survives.load() == survival::claimed && !is_out(rank);
  }
  bool all_accounted_for() const {
    for (int each = 0; each < team_.size(); ++each)
      if (team_.of(each).survives.load() != survival::claimed && !is_out(each)) return false;
    return true;
  }
  int first_claim() const {
    int rank = 0;
    while (rank != rank_ && !has_claimed(rank)) ++rank;
    return rank;
  }
  void propose() {
    std::vector<int> left;
    for (int each = 0; each < team_.size(); ++each)
      if (each == rank_ || has_claimed(each)) left.push_back(each);
    try {
      team_.propose(rank_, left, options_for(left));
    } catch (...) {  // there is no memory: others may have some
      own().survives.store(survival::given_up);
      throw;
    }
    if (!team_.decide(rank_)) team_.withdraw(rank_);
  }

  bool is_left(int rank) const {
    if (team_.decider() < 0) return false;
    for (const int each : team_.proposed_by(team_.decider()))
      if (each == rank) return true;
    return false;
  }
  std::string said() const {
    return "allfold: rank " + std::to_string(rank_) + ", shrink at " + place_of(where_) + ": ";
  }
  [[noreturn]] void refuse_again() const {
    throw usage_error{said() +
                      "this communicator was shrunk before: go on with the one that came of it"};
  }
  [[noreturn]] void refuse_late() const {
    const std::vector<int> left = team_.proposed_by(team_.decider());
    std::string who = left.size() == 1 ? "rank " : "ranks ";
    for (std::size_t i = 0; i < left.size(); ++i)
      who += (i == 0 ? "" : i + 1 == left.size() ? " and " : ", ") + std::to_string(left[i]);
    throw rank_lost_error{said() + "excluded by rank " + std::to_string(team_.decider()) +
                          ", since it did not come within the time limit: " + who +
                          (left.size() == 1 ? " goes" : " go") + " on without it"};
  }

  Team& team_;
  int rank_;
  patience::clock::duration limit_;
  std::source_location where_;
};

/// Sees to it that none of the ranks that are left out uses the memory of those in `left`.
template <class Team>
void part_with_others(Team& team, const std::vector<int>& left, const shrink_options& how) {
  if constexpr (Team::dies_alone) {
    bool peace = true;
    for (int each = 0; each < team.size(); ++each) {
      if (std::find(left.begin(), left.end(), each) != left.end()) continue;
      team.of(each).first().left_out.store(true);
      if (team.may_disturb(each)) peace = how.ends_disturbers && team.end(each) && peace;
    }
    if (peace) team.release_memory();
  }
}

/// True once all ranks of a new team have come; false if the team has failed, since one ended, or
/// did not come within `limit`.
template <class Team>
bool all_come(Team& team, int rank, patience::clock::duration limit) {
  team.of(rank).arrived_after.store(true);
  patience waiting{team.options().crowded, limit};
  for (int peer = 0; peer < team.size(); ++peer)
    while (!team.of(peer).arrived_after.load()) {
      if (!waiting.pass()) continue;
      if (team.failed()) return false;
      const bool lost = team.of(peer).left.load() || team.dead(peer);
      if (!lost && !waiting.expired()) continue;
      if (team.of(peer).arrived_after.load()) break;
      team.fail(lost ? failure_kind::lost : failure_kind::timeout, rank,
                named(team, peer) + " does not come to those that are left");
      return false;
    }
  return !team.failed();
}

/// While it lives, who has made a rank's process can see that the rank deals with a failure.
template <class Team>
class sign_of_shrinking {
 public:
  sign_of_shrinking(Team& team, int rank) : team_{team}, rank_{rank} { say(true); }
  sign_of_shrinking(const sign_of_shrinking&) = delete;
  sign_of_shrinking& operator=(const sign_of_shrinking&) = delete;
  ~sign_of_shrinking() { say(false); }

 private:
  void say(bool shrinks) {
    if constexpr (Team::dies_alone) team_.of(rank_).first().shrinks.store(shrinks);
  }
  Team& team_;
  int rank_;
};

/// One rank's membership in the team of those that are left of `member`'s team; see
/// host::communicator::shrunk.
template <class Team>
std::unique_ptr<membership<Team>> successor_of(const membership<Team>& member,
                                               const shrink_options& how,
                                               std::source_location where) {
  Team& team = *member.shared();
  succession<Team> agreement{team, member.rank(), how, where};
  const std::vector<int> left = agreement.agree();
  part_with_others(team, left, how);
  const auto place = std::find(left.begin(), left.end(), member.rank()) - left.begin();
  return std::make_unique<membership<Team>>(
      team.successor(static_cast<int>(place), agreement.options_for(left)),
      static_cast<int>(place));
}

/// The same, until all that are left have come to the new team: whoever ends meanwhile is left out
/// as well.
template <class Team>
std::unique_ptr<membership<Team>> lasting_successor_of(const membership<Team>& member,
                                                       const shrink_options& how,
                                                       std::source_location where) {
  const sign_of_shrinking sign{*member.shared(), member.rank()};
  const auto limit = limit_of(how, *member.shared());
  auto next = successor_of(member, how, where);
  while (!all_come(*next->shared(), next->rank(), limit)) next = successor_of(*next, how, where);
  return next;
}

}  // namespace allfold::host
