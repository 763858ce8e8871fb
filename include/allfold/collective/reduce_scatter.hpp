// Every rank gets its share of the fold of all ranks' elements.
#pragma once

#include <allfold/collective/common.hpp>

namespace allfold {

/// Folds all ranks' `input`, of size() times as many elements as `output`; rank r gets elements
/// [r · n, (r + 1) · n) of the fold, n being the size of `output`. `output` is apart from `input`,
/// or just that part of it. `Algorithm`: automatic, direct or ring. Throws usage_error,
/// mismatch_error, timeout_error, rank_lost_error.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output,
          class Operation = sum>
void reduce_scatter(World& world, Input&& input, Output&& output, Operation operation = {},
                    std::source_location where = std::source_location::current()) {
  detail::require_same_elements<World, Input, Output>();
  detail::require_operation<Operation, element_of<Output>>();
  static_assert(
      requires { typename Algorithm::reduce_scatter; },
      "allfold: this algorithm has no reduce_scatter; take direct or ring");
  using element = element_of<Output>;
  const detail::call_site site{collective::reduce_scatter, where};
  const std::size_t share = detail::checked_share(world, span_of(input).size(), "input", site);
  detail::check_size(world, span_of(output).size(), share, "output", site);
  const element* const own = span_of(input).data() + share * static_cast<std::size_t>(world.rank());
  if (own != span_of(output).data()) detail::check_overlap(world, input, output, nullptr, site);
  detail::run_by_rank<element>(world, typename detail::on<World, Algorithm>::reduce_scatter{},
                               span_of(input).data(), span_of(output).data(), share, operation,
                               where);
}

/// The same in place: the rank's own share of `data` becomes the fold's; the rest is left alone.
template <class Algorithm = automatic, communicator World, contiguous Data, class Operation = sum>
requires(!contiguous<Operation>) void reduce_scatter(
    World& world, Data&& data, Operation operation = {},
    std::source_location where = std::source_location::current()) {
  detail::require_elements<World, Data>();
  const detail::call_site site{collective::reduce_scatter, where};
  const std::size_t share = detail::checked_share(world, span_of(data).size(), "data", site);
  reduce_scatter<Algorithm>(
      world, data, span_of(data).subspan(share * static_cast<std::size_t>(world.rank()), share),
      operation, where);
}

}  // namespace allfold
