// Every rank gets all ranks' elements, side by side.
#pragma once

#include <allfold/collective/common.hpp>

namespace allfold {

/// Puts rank r's `input` at elements [r · n, (r + 1) · n) of every rank's `output`, n being the
/// size of `input`. `input` is apart from `output`, or just that part of it. `Algorithm`:
/// automatic, direct or ring. Throws usage_error, mismatch_error, timeout_error, rank_lost_error.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output>
void all_gather(World& world, Input&& input, Output&& output,
                std::source_location where = std::source_location::current()) {
  detail::require_same_elements<World, Input, Output>();
  static_assert(
      requires { typename Algorithm::all_gather; },
      "allfold: this algorithm has no all_gather; take direct or ring");
  using element = element_of<Output>;
  const detail::call_site site{collective::all_gather, where};
  const std::size_t share = detail::checked_share(world, span_of(output).size(), "output", site);
  detail::check_size(world, span_of(input).size(), share, "input", site);
  const element* const own =
      span_of(output).data() + share * static_cast<std::size_t>(world.rank());
  detail::check_overlap(world, input, output, own, site);
  detail::run_by_rank<element>(world, typename detail::on<World, Algorithm>::all_gather{},
                               span_of(input).data(), span_of(output).data(), share, sum{}, where);
}

/// The same with counts[r] elements of rank r, one rank's behind the other's. Every rank gives the
/// same counts.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output>
void all_gather(World& world, Input&& input, Output&& output, std::span<const std::size_t> counts,
                std::source_location where = std::source_location::current()) {
  detail::require_same_elements<World, Input, Output>();
  using element = element_of<Output>;
  const detail::call_site site{collective::all_gather, where};
  detail::check_counts(world, counts, site);
  const auto rank = static_cast<std::size_t>(world.rank());
  detail::check_size(world, span_of(input).size(), counts[rank], "input", site);
  detail::check_size(world, span_of(output).size(), detail::total_of(counts), "output", site);
  const element* const own = span_of(output).data() + detail::begin_of(counts, world.rank());
  detail::check_overlap(world, input, output, own, site);
  detail::run_by_counts<element>(world, typename detail::on<World, Algorithm>::all_gather{},
                                 span_of(input).data(), span_of(output).data(), counts, where);
}

/// In place: each rank has its own elements at their place in `data`, and gets all others'.
template <class Algorithm = automatic, communicator World, contiguous Data>
void all_gather(World& world, Data&& data,
                std::source_location where = std::source_location::current()) {
  detail::require_elements<World, Data>();
  const detail::call_site site{collective::all_gather, where};
  const std::size_t share = detail::checked_share(world, span_of(data).size(), "data", site);
  all_gather<Algorithm>(
      world, span_of(data).subspan(share * static_cast<std::size_t>(world.rank()), share), data,
      where);
}

}  // namespace allfold
