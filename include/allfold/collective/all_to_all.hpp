// Every rank gets a share of every rank's elements.
#pragma once

#include <allfold/collective/common.hpp>

namespace allfold {

/// Puts part r of rank s's `input` at part s of rank r's `output`, both being divided evenly into
/// size() parts. The two may be the same elements, on all ranks or on none. `Algorithm`: automatic
/// or direct.
/// Throws usage_error, mismatch_error, timeout_error, rank_lost_error.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output>
void all_to_all(World& world, Input&& input, Output&& output,
                std::source_location where = std::source_location::current()) {
  detail::require_same_elements<World, Input, Output>();
  static_assert(
      requires { typename Algorithm::all_to_all; },
      "allfold: this algorithm has no all_to_all; take direct");
  using element = element_of<Output>;
  const detail::call_site site{collective::all_to_all, where};
  const std::size_t share = detail::checked_share(world, span_of(input).size(), "input", site);
  detail::check_size(world, span_of(output).size(), span_of(input).size(), "output", site);
  detail::check_overlap(world, input, output, span_of(output).data(), site);
  const bool in_place = share > 0 && span_of(input).data() == span_of(output).data();
  detail::run_by_rank<element>(
      world, typename detail::on<World, Algorithm>::all_to_all{.in_place = in_place},
      span_of(input).data(), span_of(output).data(), share, sum{}, where);
}

/// The same in place. The library sets a copy of `data` aside.
template <class Algorithm = automatic, communicator World, contiguous Data>
void all_to_all(World& world, Data&& data,
                std::source_location where = std::source_location::current()) {
  detail::require_elements<World, Data>();
  static_assert(
      requires { typename Algorithm::all_to_all; },
      "allfold: this algorithm has no all_to_all; take direct");
  const detail::call_site site{collective::all_to_all, where};
  const std::size_t share = detail::checked_share(world, span_of(data).size(), "data", site);
  detail::run_by_rank<element_of<Data>>(
      world, typename detail::on<World, Algorithm>::all_to_all{.in_place = true},
      span_of(data).data(), span_of(data).data(), share, sum{}, where);
}

}  // namespace allfold
