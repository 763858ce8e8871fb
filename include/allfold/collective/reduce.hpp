// One rank gets the fold of all ranks' elements.
#pragma once

#include <allfold/collective/common.hpp>

namespace allfold {

/// Folds all ranks' `input` into the root's `output`, which on the root has as many elements and is
/// the input itself or apart from it; on the other ranks `output` is not used and may be empty.
/// `Algorithm`: automatic, direct, ring, tree or primary<>.
/// Throws usage_error, mismatch_error, timeout_error, rank_lost_error.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output,
          class Operation = sum>
void reduce(World& world, Input&& input, Output&& output, int root = 0, Operation operation = {},
            std::source_location where = std::source_location::current()) {
  detail::require_same_elements<World, Input, Output>();
  detail::require_operation<Operation, element_of<Output>>();
  static_assert(
      requires { typename Algorithm::reduce; },
      "allfold: this algorithm has no reduce; take direct, ring, tree or primary<>");
  using element = element_of<Output>;
  const detail::call_site site{collective::reduce, where};
  detail::check_root(world, root, site);
  element* result = nullptr;
  if (world.rank() == root) {
    detail::check_size(world, span_of(output).size(), span_of(input).size(), "output", site);
    detail::check_overlap(world, input, output, span_of(output).data(), site);
    result = span_of(output).data();
  }
  const typename detail::on<World, Algorithm>::reduce plan{.root = root};
  detail::run_evenly<element>(world, plan, span_of(input).data(), result, span_of(input).size(),
                              operation, where);
}

/// The same in place: the root's `data` becomes the fold, the others' is left alone.
template <class Algorithm = automatic, communicator World, contiguous Data, class Operation = sum>
void reduce(World& world, Data&& data, int root = 0, Operation operation = {},
            std::source_location where = std::source_location::current()) {
  reduce<Algorithm>(world, data, data, root, operation, where);
}

}  // namespace allfold
