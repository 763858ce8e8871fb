// Ranks that are threads of one process.
#pragma once

#include <allfold/communicator/cores.hpp>
#include <allfold/communicator/host_communicator.hpp>
#include <allfold/communicator/team.hpp>

namespace allfold::threads {

/// A rank's communicator, made by `spawn`, by `split`, or by a thread of the user's own that joins
/// a `team`.
class communicator : public host::communicator<team> {
  using base = host::communicator<team>;

 public:
  using base::base;

  /// Divides the ranks into teams: those that give the same color, ordered by key, then by rank.
  /// Every rank calls it. The new teams have this one's options; a failure of one team is its own.
  template <std::integral Color = int>  // a template, to cost nothing where it is not used
  communicator split(Color color, int key = 0,
                     std::source_location where = std::source_location::current()) {
    const host::division mine = host::divide(*this, color, key, where);
    const int leader = mine.members.front();
    std::shared_ptr<team> made;
    if (leader == rank())
      made = std::make_shared<team>(static_cast<int>(mine.members.size()), shared()->options());
    return {taken(made, leader, where), mine.rank};
  }

  /// Goes on after a failure, with the ranks that are left; see host::communicator::shrunk.
  communicator shrink(host::shrink_options how = {},
                      std::source_location where = std::source_location::current()) {
    return communicator{base::shrunk(how, where)};
  }

  /// The same ranks once more, for a second thread of each: calls on one do not wait for calls on
  /// the other. Every rank calls it. A failure of one is its own.
  communicator companion(std::source_location where = std::source_location::current()) {
    std::shared_ptr<team> made;
    if (rank() == 0) {
      team_options options = shared()->options();
      options.crowded = options.crowded || 2 * size() > usable_cores();
      made = std::make_shared<team>(size(), options);
    }
    return counted(communicator{taken(made, 0, where), rank()});
  }

 private:
  explicit communicator(base&& made) : base{std::move(made)} {}

  /// The team that rank `leader` has made, for each rank.
  std::shared_ptr<team> taken(const std::shared_ptr<team>& made, int leader,
                              std::source_location where) {
    const auto theirs = gather(&made, where);
    const std::shared_ptr<team> its = *theirs[static_cast<std::size_t>(leader)];
    meet(where);  // nobody's `made` goes away before all have taken theirs
    return its;
  }
};

}  // namespace allfold::threads
