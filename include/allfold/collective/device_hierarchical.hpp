// Collectives of ranks on several nodes of devices: what nodes::device_communicator needs besides
// allfold.hpp. Needs no device's compiler by itself.
#pragma once

#include <allfold/collective/two_level_folds.hpp>
#include <allfold/collective/two_level_moves.hpp>
#include <allfold/communicator/device_nodes.hpp>

namespace allfold::nodes {

/// Gives one rank's part of a collective to the streams of both levels. The collectives call it.
/// What an exception leaves by fails both levels.
template <class Inside, class Across, class Plan, collective Kind, class T, class Operation>
void compose(device_communicator<Inside, Across>& world, const Plan&,
             const engine_call<Kind, T>& it, const Operation& operation) {
  static_assert(
      Kind == collective::all_reduce || Kind == collective::broadcast ||
          Kind == collective::barrier,
      "allfold: ranks on several nodes of devices have all_reduce, broadcast and barrier; "
      "the others are for their levels, inside() and across()");
  using call_type =
      allfold::detail::two_level_call<device_communicator<Inside, Across>, Plan, Kind, T>;
  const auto nothing = [](int) {};
  allfold::detail::carry_out<call_type>(world, it, [&](call_type& by) {
    if (world.nodes() == 1)
      by.inside.as_given(it, operation);
    else if (world.lanes() == 1)
      world.in_streams(
          1, nothing, [&](int) { by.across.as_given(it, operation); }, nothing);
    else if constexpr (Kind == collective::barrier)
      world.in_streams(
          1, [&](int) { by.inside.as_given(it, operation); },
          [&](int) { by.across.as_given(it, operation); }, nothing);
    else if constexpr (folds(Kind))
      allfold::detail::fold_by_levels(by, it, operation);
    else
      allfold::detail::move_by_levels(by, it);
  });
}

}  // namespace allfold::nodes
