// The collectives that fold, over several nodes: each level by its own algorithm.
#pragma once

#include <allfold/collective/message_pieces.hpp>

namespace allfold::detail {

/// Every lane's part is folded inside the nodes, then across, and given to all lanes.
template <class Call, class T, class Operation>
void fold_by_levels(Call& by, const engine_call<collective::all_reduce, T>& it,
                    const Operation& operation) {
  const auto partial = by.partial(operation);
  auto pieces = cut<T>(by, it.count, 0, true);
  const auto part = [&](int piece) { return offset(it.output, pieces.mine(piece).begin); };
  pieces.run([&](int piece) { pieces.fold_inside(piece, it.input, part(piece), partial); },
             [&](int piece) {
               T* const own = part(piece);
               const std::size_t count = pieces.mine(piece).count;
               by.across.template evenly<collective::all_reduce, T>(own, own, count, 0, partial);
               by.finish(own, count, operation);
             },
             [&](int piece) { pieces.spread_inside(piece, part(piece), it.output); });
}

/// Every lane's part is folded inside the nodes, then to the root's node, and given to the root.
template <class Call, class T, class Operation>
void fold_by_levels(Call& by, const engine_call<collective::reduce, T>& it,
                    const Operation& operation) {
  const auto partial = by.partial(operation);
  auto pieces = cut<T>(by, it.count, by.root_lane, true);
  // Only the root may write where its caller wants the result.
  const bool in_output = by.is_root() && !pieces.shared();
  const std::size_t longest = pieces.longest_part();
  T* const room =
      in_output ? it.output : by.scratch(longest * static_cast<std::size_t>(pieces.number()));
  const auto part = [&](int piece) {
    return offset(room,
                  in_output ? pieces.mine(piece).begin : longest * static_cast<std::size_t>(piece));
  };
  pieces.run([&](int piece) { pieces.fold_inside(piece, it.input, part(piece), partial); },
             [&](int piece) {
               T* const own = part(piece);
               const std::size_t count = pieces.mine(piece).count;
               by.across.template evenly<collective::reduce, T>(
                   own, by.on_root_node() ? own : nullptr, count, by.root_node, partial);
               if (by.on_root_node()) by.finish(own, count, operation);
             },
             [&](int piece) {
               if (by.on_root_node()) pieces.collect_inside(piece, part(piece), it.output);
             });
}

/// Lane l of a node folds what lane l of each node is to get, inside; then each gets its own.
template <class Call, class T, class Operation>
void fold_by_levels(Call& by, const engine_call<collective::reduce_scatter, T>& it,
                    const Operation& operation) {
  const auto partial = by.partial(operation);
  const auto nodes = static_cast<std::size_t>(by.world.nodes());
  const auto lanes = static_cast<std::size_t>(by.world.lanes());
  T* const shares = by.scratch(it.count * nodes);
  for (std::size_t node = 0; node < nodes; ++node)
    by.inside.template by_rank<collective::reduce_scatter, T>(
        offset(it.input, node * lanes * it.count), offset(shares, node * it.count), it.count, 0,
        partial);
  by.across.template by_rank<collective::reduce_scatter, T>(shares, it.output, it.count, 0,
                                                            partial);
  by.finish(it.output, it.count, operation);
}

}  // namespace allfold::detail
