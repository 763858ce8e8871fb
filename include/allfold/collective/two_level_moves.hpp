// The collectives that only move elements, over several nodes. What belongs to the ranks of one
// node lies side by side, so that a node's block is moved inside it as it lies.
#pragma once

#include <allfold/collective/message_pieces.hpp>

namespace allfold::detail {

/// How many elements each rank has, as the levels see it.
template <class World>
class rank_shares {
 public:
  template <collective Kind, class T>
  rank_shares(const World& world, const engine_call<Kind, T>& it) : world_{world} {
    const auto size = static_cast<std::size_t>(world.size());
    all_.assign(it.counts.begin(), it.counts.end());
    if (all_.empty()) all_.assign(size, it.count);
    for (std::size_t rank = 0; rank < size; ++rank)
      if (static_cast<int>(rank) % world.lanes() == world.lane()) lane_.push_back(all_[rank]);
  }
  /// Of one node's ranks, and where their block begins.
  std::span<const std::size_t> of_node(int node) const {
    return std::span{all_}.subspan(at(world_.rank_of(node, 0)), at(world_.lanes()));
  }
  std::size_t begin_of_node(int node) const {
    return total_of(std::span{all_}.first(at(world_.rank_of(node, 0))));
  }
  /// Of the ranks in this one's lane, and where a node's lies behind those of the nodes before.
  std::span<const std::size_t> of_lane() const { return lane_; }
  std::size_t begin_in_lane(int node) const { return begin_of(lane_, node); }
  std::size_t in_lane() const { return total_of(lane_); }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  const World& world_;
  std::vector<std::size_t> all_, lane_;
};

/// The root's node shares out what every lane sends across, and each node puts it together.
template <class Call, class T>
void move_by_levels(Call& by, const engine_call<collective::broadcast, T>& it) {
  auto pieces = cut<T>(by, it.count, by.root_lane, false);
  const auto part = [&](int piece) { return offset(it.output, pieces.mine(piece).begin); };
  const auto given = [&](int piece) -> const T* {
    if (!by.on_root_node()) return nullptr;
    return pieces.shared() ? part(piece) : offset(it.input, pieces.mine(piece).begin);
  };
  pieces.run(
      [&](int piece) {
        if (by.on_root_node()) pieces.share_out_inside(piece, it.input, part(piece));
      },
      [&](int piece) {
        by.across.template evenly<collective::broadcast, T>(given(piece), part(piece),
                                                            pieces.mine(piece).count, by.root_node);
      },
      [&](int piece) { pieces.spread_inside(piece, part(piece), it.output); });
}

/// Every lane gathers its ranks' elements across; then each node's block is put together inside.
template <class Call, class T>
void move_by_levels(Call& by, const engine_call<collective::all_gather, T>& it) {
  const rank_shares shares{by.world, it};
  T* const lane = by.scratch(shares.in_lane());
  by.across.template by_counts<collective::all_gather, T>(it.input, lane, shares.of_lane());
  for (int node = 0; node < by.world.nodes(); ++node)
    by.inside.template by_counts<collective::all_gather, T>(
        offset(lane, shares.begin_in_lane(node)), offset(it.output, shares.begin_of_node(node)),
        shares.of_node(node));
}

/// Every lane gathers its ranks' elements on the root's node, where the root collects them.
template <class Call, class T>
void move_by_levels(Call& by, const engine_call<collective::gather, T>& it) {
  const rank_shares shares{by.world, it};
  T* const lane = by.on_root_node() ? by.scratch(shares.in_lane()) : nullptr;
  by.across.template by_counts<collective::gather, T>(it.input, lane, shares.of_lane(),
                                                      by.root_node);
  for (int node = 0; by.on_root_node() && node < by.world.nodes(); ++node)
    by.inside.template by_counts<collective::gather, T>(
        offset(lane, shares.begin_in_lane(node)), offset(it.output, shares.begin_of_node(node)),
        shares.of_node(node), by.root_lane);
}

/// The root shares out inside its node what each lane then scatters across.
template <class Call, class T>
void move_by_levels(Call& by, const engine_call<collective::scatter, T>& it) {
  const rank_shares shares{by.world, it};
  T* const lane = by.on_root_node() ? by.scratch(shares.in_lane()) : nullptr;
  for (int node = 0; by.on_root_node() && node < by.world.nodes(); ++node)
    by.inside.template by_counts<collective::scatter, T>(
        offset(it.input, shares.begin_of_node(node)), offset(lane, shares.begin_in_lane(node)),
        shares.of_node(node), by.root_lane);
  by.across.template by_counts<collective::scatter, T>(lane, it.output, shares.of_lane(),
                                                       by.root_node);
}

/// Lane l of a node collects what its node's ranks have for lane l of each node; then these
/// exchange it.
template <class Call, class T>
void move_by_levels(Call& by, const engine_call<collective::all_to_all, T>& it) {
  const std::size_t block = it.count * static_cast<std::size_t>(by.world.lanes());
  const auto nodes = static_cast<std::size_t>(by.world.nodes());
  T* const collected = by.scratch(block * nodes);
  for (std::size_t node = 0; node < nodes; ++node)
    by.inside.template by_rank<collective::all_to_all, T>(
        offset(it.input, node * block), offset(collected, node * block), it.count);
  by.across.template by_rank<collective::all_to_all, T>(collected, it.output, block);
}

/// When a rank's node is complete, and that of every rank in its lane, all are.
template <class Call, class T>
void move_by_levels(Call& by, const engine_call<collective::barrier, T>&) {
  by.inside.template evenly<collective::barrier, T>(nullptr, nullptr, 0);
  by.across.template evenly<collective::barrier, T>(nullptr, nullptr, 0);
}

}  // namespace allfold::detail
