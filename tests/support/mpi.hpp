// Ranks by mpi::communicator: the processes that mpirun has started, all of them. What MPI is given
// in one call, and whether ranks compare their calls, differs by turns.
#pragma once

#include <allfold/communicator/mpi.hpp>
#include <stdexcept>
#include <string>

namespace test {

struct world : allfold::mpi::communicator {
  static constexpr std::size_t small_bytes = 288;  // where awkward counts lie
  using allfold::mpi::communicator::communicator;
};

inline int rank_of_process() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
inline int processes() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

/// The most that MPI is given in one call, where it is not given everything.
inline std::size_t longest_piece = 100;

/// Runs body(world&) on all processes, which must be as many as `ranks`.
template <class Body>
void run_world(int ranks, Body body) {
  if (ranks != processes()) throw std::logic_error{"there are other processes than ranks"};
  static int turn = 0;
  allfold::mpi::options how{.timeout = std::chrono::minutes{1}};
  if (turn % 3 == 1) how.largest_count = longest_piece;
  if (turn % 3 == 2) how.compare_calls = false;
  ++turn;
  world mine{MPI_COMM_WORLD, how};
  body(mine);
}

}  // namespace test
