// The communicators of which one of two levels is made: their names, and where a rank is among
// them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace allfold::nodes {

/// All ranks of the node; those of the lane; this rank and its neighbour in the lane on the node
/// before, or after.
enum class tier : std::uint8_t { inside, across, before, after };

/// A rank's place on two levels.
struct place {
  int node, nodes, lane, lanes;

  int rank() const { return node * lanes + lane; }
  /// "rank 5 of 8 (node 1, lane 1)".
  std::string in_words() const {
    return "rank " + std::to_string(rank()) + " of " + std::to_string(nodes * lanes) + " (node " +
           std::to_string(node) + ", lane " + std::to_string(lane) + ")";
  }
  /// "inside node 1 (its ranks 0, 1 are ranks 2, 3 of all)", and the like.
  std::string name_of(tier which) const {
    const int first = which == tier::before ? node - 1 : which == tier::after ? node : 0;
    const int count = which == tier::inside ? lanes : which == tier::across ? nodes : 2;
    constexpr int listed = 8;
    std::string own, all;
    for (int i = 0; i < count && i < listed; ++i) {
      const std::string comma = i == 0 ? "" : ", ";
      own += comma + std::to_string(i);
      all += comma +
             std::to_string(which == tier::inside ? node * lanes + i : (first + i) * lanes + lane);
    }
    const std::string more = count > listed ? ", …" : "";
    return (which == tier::inside ? "inside node " + std::to_string(node)
            : which == tier::across
                ? "across nodes in lane " + std::to_string(lane)
                : "between nodes " + std::to_string(first) + " and " + std::to_string(first + 1) +
                      " in lane " + std::to_string(lane)) +
           " (its ranks " + own + more + " are ranks " + all + more + " of all)";
  }

  // Why ranks can't be on two levels: another node has another number of them, and a rank of this
  // one's node is on another node across.

  std::string unlike_node(const place& its) const {
    return "not all nodes have as many ranks: node " + std::to_string(node) + " has " +
           std::to_string(lanes) + ", node " + std::to_string(its.node) + " has " +
           std::to_string(its.lanes);
  }
  std::string unlike_lane(const place& its) const {
    const auto said = [](const place& of) {
      return std::to_string(of.lane) + " is on node " + std::to_string(of.node) + " of " +
             std::to_string(of.nodes);
    };
    return "a node's ranks are not the same node across: lane " + said(*this) + ", lane " +
           said(its);
  }
};

/// Shows on a rank's other levels, while it lives, that it is in a collective of one: who waits for
/// it there leaves it to others to say who is late. See host::record.
class presence {
 public:
  presence() = default;
  presence(const presence&) = delete;
  presence& operator=(const presence&) = delete;
  ~presence() {
    for (std::size_t i = 0; i < count_; ++i) shown_[i]->fetch_sub(1, std::memory_order_relaxed);
  }
  /// Shows it to those who see the rank's record on that level, if the level has such.
  template <class World>
  void show_on(World& level) {
    if constexpr (requires { level.shared()->of(0).elsewhere; }) {
      shown_[count_] = &level.shared()->of(level.rank()).elsewhere;
      shown_[count_++]->fetch_add(1, std::memory_order_relaxed);
    }
  }

 private:
  std::array<std::atomic<std::int32_t>*, 3> shown_{};
  std::size_t count_ = 0;
};

}  // namespace allfold::nodes
