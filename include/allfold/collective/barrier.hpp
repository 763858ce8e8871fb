// Waits for everybody.
#pragma once

#include <allfold/collective/common.hpp>
#include <allfold/schedule/dissemination.hpp>

namespace allfold {

/// Returns once every rank has called it; what any rank wrote before is visible to all then.
/// `Algorithm`: automatic, direct or dissemination.
/// Throws mismatch_error, timeout_error, rank_lost_error.
template <class Algorithm = automatic, communicator World>
void barrier(World& world, std::source_location where = std::source_location::current()) {
  static_assert(
      requires { typename Algorithm::barrier; },
      "allfold: this algorithm has no barrier; take direct or dissemination");
  detail::run_evenly<char>(world, typename detail::on<World, Algorithm>::barrier{},
                           static_cast<const char*>(nullptr), static_cast<char*>(nullptr), 0, sum{},
                           where);
}

}  // namespace allfold
