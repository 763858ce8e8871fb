// Every rank gets its share of one rank's elements.
#pragma once

#include <allfold/collective/common.hpp>

namespace allfold {

namespace detail {

/// Scatters by counts; `counts` has one entry per rank, or is empty if all ranks get as many.
template <class Algorithm, class World, class Input, class Output>
void scatter(World& world, Input& input, Output& output, std::span<const std::size_t> counts,
             int root, std::source_location where) {
  require_same_elements<World, Input, Output>();
  static_assert(
      requires { typename Algorithm::scatter; },
      "allfold: this algorithm has no scatter; take direct");
  using element = element_of<Output>;
  const call_site site{collective::scatter, where};
  check_root(world, root, site);
  const bool even = counts.empty();
  if (!even) check_counts(world, counts, site);
  const auto rank = static_cast<std::size_t>(world.rank());
  if (!even) check_size(world, span_of(output).size(), counts[rank], "output", site);
  const element* given = nullptr;
  if (world.rank() == root) {
    const std::size_t whole =
        even ? span_of(output).size() * static_cast<std::size_t>(world.size()) : total_of(counts);
    check_size(world, span_of(input).size(), whole, "input", site);
    given = span_of(input).data();
    const element* const own =
        given + (even ? span_of(output).size() * rank : begin_of(counts, world.rank()));
    if (own != span_of(output).data()) check_overlap(world, input, output, nullptr, site);
  }
  const typename detail::on<World, Algorithm>::scatter plan{.root = root};
  if (even)
    run_by_rank<element>(world, plan, given, span_of(output).data(), span_of(output).size(), sum{},
                         where);
  else
    run_by_counts<element>(world, plan, given, span_of(output).data(), counts, where);
}

}  // namespace detail

/// Puts elements [r · n, (r + 1) · n) of the root's `input` into rank r's `output`, n being the
/// size of `output`. On the other ranks `input` is not used and may be empty. The root's `output`
/// is apart from its input, or just its own part of it: in place. `Algorithm`: automatic or direct.
/// Throws usage_error, mismatch_error, timeout_error, rank_lost_error.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output>
void scatter(World& world, Input&& input, Output&& output, int root = 0,
             std::source_location where = std::source_location::current()) {
  detail::scatter<Algorithm>(world, input, output, {}, root, where);
}

/// The same with counts[r] elements for rank r, one rank's behind the other's. Every rank gives the
/// same counts.
template <class Algorithm = automatic, communicator World, contiguous Input, contiguous Output>
void scatter(World& world, Input&& input, Output&& output, std::span<const std::size_t> counts,
             int root = 0, std::source_location where = std::source_location::current()) {
  detail::check_counts(world, counts, {collective::scatter, where});
  detail::scatter<Algorithm>(world, input, output, counts, root, where);
}

}  // namespace allfold
