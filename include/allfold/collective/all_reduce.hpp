// Every rank gets the fold of all ranks' elements.
#pragma once

#include <allfold/collective/common.hpp>

namespace allfold {

/// Folds `data` over all ranks, element by element, in place: afterwards every rank holds the same
/// bits. Every rank calls it with as many elements, the same type, operation and algorithm.
/// `Algorithm` is a schedule of kind all_reduce: automatic, direct, ring, tree, halving_doubling,
/// primary<root>, native, or a user's own. `operation` is sum{}, product{}, minimum{}, maximum{},
/// average{}, or any `operation_on` the element type. Throws usage_error, mismatch_error,
/// timeout_error, rank_lost_error; then the elements are undefined.
template <class Algorithm = automatic, communicator World, contiguous Data, class Operation = sum>
requires(!contiguous<Operation>) void all_reduce(
    World& world, Data&& data, Operation operation = {},
    std::source_location where = std::source_location::current()) {
  detail::require_elements<World, Data>();
  detail::require_operation<Operation, element_of<Data>>();
  detail::require_all_reduce<World, Algorithm>();
  detail::check_root(world, root_of(detail::on<World, Algorithm>{}),
                     {collective::all_reduce, where});
  detail::run_evenly<element_of<Data>>(world, detail::on<World, Algorithm>{}, span_of(data).data(),
                                       span_of(data).data(), span_of(data).size(), operation,
                                       where);
}

/// The same out of place: `input` is only read, `output` has as many elements and is apart from it.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output,
          class Operation = sum>
void all_reduce(World& world, Input&& input, Output&& output, Operation operation = {},
                std::source_location where = std::source_location::current()) {
  detail::require_same_elements<World, Input, Output>();
  detail::require_operation<Operation, element_of<Output>>();
  detail::require_all_reduce<World, Algorithm>();
  using element = element_of<Output>;
  const detail::call_site site{collective::all_reduce, where};
  detail::check_root(world, root_of(detail::on<World, Algorithm>{}), site);
  detail::check_size(world, span_of(output).size(), span_of(input).size(), "output", site);
  detail::check_overlap(world, input, output, span_of(output).data(), site);
  detail::run_evenly<element>(world, detail::on<World, Algorithm>{}, span_of(input).data(),
                              span_of(output).data(), span_of(input).size(), operation, where);
}

}  // namespace allfold
