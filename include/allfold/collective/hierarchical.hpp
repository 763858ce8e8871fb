// Collectives of ranks on several nodes: what nodes::communicator needs besides allfold.hpp.
#pragma once

#include <allfold/collective/all_gather.hpp>
#include <allfold/collective/folds_in_rank_order.hpp>
#include <allfold/collective/two_level_folds.hpp>
#include <allfold/collective/two_level_moves.hpp>

namespace allfold::nodes {

/// Carries out one rank's part of a collective on both levels. The collectives call it. What an
/// exception leaves by fails both levels.
template <class Inside, class Across, class Plan, collective Kind, class T, class Operation>
void compose(communicator<Inside, Across>& world, const Plan&, const engine_call<Kind, T>& it,
             const Operation& operation) {
  using call_type = detail::two_level_call<communicator<Inside, Across>, Plan, Kind, T>;
  detail::carry_out<call_type>(world, it, [&](call_type& by) {
    if (world.nodes() == 1)
      by.inside.as_given(it, operation);
    else if constexpr (folds(Kind) && call_type::in_order)
      detail::fold_in_order(by, it, operation);
    else if (world.lanes() == 1)
      by.across.as_given(it, operation);
    else if constexpr (folds(Kind))
      detail::fold_by_levels(by, it, operation);
    else
      detail::move_by_levels(by, it);
  });
}

}  // namespace allfold::nodes
