// One rank gets all ranks' elements, side by side.
#pragma once

#include <allfold/collective/common.hpp>

namespace allfold {

namespace detail {

/// Gathers by counts; `counts` has one entry per rank, or is empty if all ranks give as many.
template <class Algorithm, class World, class Input, class Output>
void gather(World& world, Input& input, Output& output, std::span<const std::size_t> counts,
            int root, std::source_location where) {
  require_same_elements<World, Input, Output>();
  static_assert(
      requires { typename Algorithm::gather; },
      "allfold: this algorithm has no gather; take direct");
  using element = element_of<Output>;
  const call_site site{collective::gather, where};
  check_root(world, root, site);
  const bool even = counts.empty();
  if (!even) check_counts(world, counts, site);
  const auto rank = static_cast<std::size_t>(world.rank());
  if (!even) check_size(world, span_of(input).size(), counts[rank], "input", site);
  element* result = nullptr;
  if (world.rank() == root) {
    const std::size_t whole =
        even ? span_of(input).size() * static_cast<std::size_t>(world.size()) : total_of(counts);
    check_size(world, span_of(output).size(), whole, "output", site);
    result = span_of(output).data();
    const element* const own =
        result + (even ? span_of(input).size() * rank : begin_of(counts, world.rank()));
    check_overlap(world, input, output, own, site);
  }
  const typename on<World, Algorithm>::gather plan{.root = root};
  if (even)
    run_by_rank<element>(world, plan, span_of(input).data(), result, span_of(input).size(), sum{},
                         where);
  else
    run_by_counts<element>(world, plan, span_of(input).data(), result, counts, where);
}

}  // namespace detail

/// Puts rank r's `input` at elements [r · n, (r + 1) · n) of the root's `output`, n being the size
/// of `input`. On the other ranks `output` is not used and may be empty. The root's `input` is
/// apart from its output, or just its own part of it: in place. `Algorithm`: automatic or direct.
/// Throws usage_error, mismatch_error, timeout_error, rank_lost_error.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output>
void gather(World& world, Input&& input, Output&& output, int root = 0,
            std::source_location where = std::source_location::current()) {
  detail::gather<Algorithm>(world, input, output, {}, root, where);
}

/// The same with counts[r] elements of rank r, one rank's behind the other's. Every rank gives the
/// same counts.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output>
void gather(World& world, Input&& input, Output&& output, std::span<const std::size_t> counts,
            int root = 0, std::source_location where = std::source_location::current()) {
  detail::check_counts(world, counts, {collective::gather, where});
  detail::gather<Algorithm>(world, input, output, counts, root, where);
}

}  // namespace allfold
