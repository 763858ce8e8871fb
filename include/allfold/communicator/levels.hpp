// What communicators of two levels have in common: the levels, and a rank's place on them.
#pragma once

#include <allfold/communicator/failure.hpp>
#include <allfold/communicator/tiers.hpp>

namespace allfold::nodes {

/// How messages are cut. The same on every rank.
struct options {
  /// What is no longer, in bytes, does not pay for being shared out: one rank speaks for its node.
  std::size_t one_lane_bytes = 4096;
  /// About so many bytes are sent across at a time, by one rank. Longer messages are cut, so that
  /// one piece is folded inside the nodes while the one before it is on its way across.
  std::size_t piece_bytes = std::size_t{1} << 20;
};

/// What nodes::communicator and nodes::device_communicator are made of. A rank's node is its rank
/// in `Across`, and its lane the one in `Inside`; rank = node · lanes() + lane.
template <class Inside, class Across>
class levels {
 public:
  static constexpr bool composes = true;
  using inside_type = Inside;
  using across_type = Across;

  int rank() const { return node() * lanes() + lane(); }
  int size() const { return nodes() * lanes(); }
  /// This rank's node, and how many there are.
  int node() const { return across_.rank(); }
  int nodes() const { return across_.size(); }
  /// This rank's place on its node, and how many ranks each node has.
  int lane() const { return inside_.rank(); }
  int lanes() const { return inside_.size(); }
  /// The rank with that place.
  int rank_of(int node, int lane) const { return node * lanes() + lane; }

  /// The two levels. Collectives on one are apart from those on the whole: every rank of that level
  /// calls them, between the others; in a device's memory it orders the streams itself.
  Inside& inside() { return inside_; }
  Across& across() { return across_; }
  const nodes::options& options() const { return options_; }
  /// The number of the collective that this rank calls next.
  std::uint64_t number() const { return number_; }

  // ---- for the collectives ----

  void completed() { ++number_; }
  std::string name_of(tier which) const { return own_place().name_of(which); }
  /// "rank 5 of 8 (node 1, lane 1)".
  std::string name() const { return own_place().in_words(); }

 protected:
  /// `make_inside()` and `make_across()`, which are called in this order, return the levels. These
  /// need not be movable.
  template <class MakeInside, class MakeAcross>
  levels(MakeInside make_inside, MakeAcross make_across, const nodes::options& how)
      : inside_(make_inside()), across_(make_across()), options_{how} {}
  levels(levels&&) = default;
  levels& operator=(levels&&) = delete;
  ~levels() = default;

  place own_place() const { return {node(), nodes(), lane(), lanes()}; }
  /// What is being handled, which that level has thrown, as the other ranks are to hear of it.
  failure caught_from(tier which) const {
    failure found = failure_of(std::current_exception());
    found.text = found.kind ? name_of(which) + ": " + found.text : name() + " threw: " + found.text;
    return found;
  }
  /// Throws it again with the names of this rank and of what it was doing; what is no error of the
  /// library's as it is.
  [[noreturn]] void rethrow(const failure& found, const std::string& what) const {
    if (!found.kind) throw;
    host::throw_as(*found.kind, "allfold: " + name() + ", " + what + ": " + found.text);
  }

  Inside inside_;
  Across across_;

 private:
  nodes::options options_;
  std::uint64_t number_ = 0;
};

}  // namespace allfold::nodes
