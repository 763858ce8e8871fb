// Every rank gets one rank's elements.
#pragma once

#include <allfold/collective/common.hpp>

namespace allfold {

/// Copies the root's `input` to every rank's `output`, the root's own included. On the other ranks
/// `input` is not used and may be empty. All outputs have as many elements as the root's input.
/// `Algorithm`: automatic, direct, ring (a chain) or tree.
/// Throws usage_error, mismatch_error, timeout_error, rank_lost_error.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output>
void broadcast(World& world, Input&& input, Output&& output, int root = 0,
               std::source_location where = std::source_location::current()) {
  detail::require_same_elements<World, Input, Output>();
  static_assert(
      requires { typename Algorithm::broadcast; },
      "allfold: this algorithm has no broadcast; take direct, ring or tree");
  using element = element_of<Output>;
  const detail::call_site site{collective::broadcast, where};
  detail::check_root(world, root, site);
  const element* given = nullptr;
  if (world.rank() == root) {
    detail::check_size(world, span_of(output).size(), span_of(input).size(), "output", site);
    detail::check_overlap(world, input, output, span_of(output).data(), site);
    given = span_of(input).data();
  }
  const typename detail::on<World, Algorithm>::broadcast plan{.root = root};
  detail::run_evenly<element>(world, plan, given, span_of(output).data(), span_of(output).size(),
                              sum{}, where);
}

/// The same in place: the other ranks' `data` becomes the root's.
template <class Algorithm = automatic, communicator World, contiguous Data>
void broadcast(World& world, Data&& data, int root = 0,
               std::source_location where = std::source_location::current()) {
  broadcast<Algorithm>(world, data, data, root, where);
}

}  // namespace allfold
