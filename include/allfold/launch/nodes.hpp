// Makes a communicator of two levels out of one that knows all ranks. Linux.
#pragma once

#include <allfold/collective/hierarchical.hpp>
#include <allfold/communicator/processes.hpp>

namespace allfold {

namespace detail {

/// The ranks of this node, by what works inside a node.
template <class World>
auto ranks_inside(World& flat, int node, const processes::options& inside,
                  std::source_location where) {
  auto ranks = flat.split(node, flat.rank(), where);
  if constexpr (has_engine<World>) {
    const auto exchange = [&](const void* mine, std::size_t size, void* all) {
      all_gather(
          ranks, std::span{static_cast<const std::byte*>(mine), size},
          std::span{static_cast<std::byte*>(all), size * static_cast<std::size_t>(ranks.size())},
          where);
    };
    return processes::communicator{ranks.rank(), ranks.size(), exchange, inside};
  } else {
    return ranks;
  }
}

}  // namespace detail

/// Divides the ranks of `flat` into nodes: those that give the same number, in the order of their
/// ranks, are on one node. Nodes are numbered in the order of their first ranks, so a rank's number
/// in the result is the one in `flat` where the ranks of a node follow each other there. Every rank
/// calls it. `flat` may go away afterwards.
///
/// Across nodes the ranks are connected as in `flat`, by its `split`. Inside a node too, unless
/// `flat` has an engine, such as MPI: then by processes::communicator, as `inside` says. Throws
/// usage_error if not all nodes have as many ranks, and what the parts throw.
template <communicator World>
auto make_nodes(World& flat, int node, nodes::options how = {},
                const processes::options& inside = {},
                std::source_location where = std::source_location::current()) {
  auto here = detail::ranks_inside(flat, node, inside, where);
  // All lanes number the nodes alike.
  const int first = detail::gathered(here, flat.rank(), where)[0];
  auto across = flat.split(here.rank(), first, where);
  return nodes::communicator<decltype(here), decltype(across)>{std::move(here), std::move(across),
                                                               how, where};
}

}  // namespace allfold
