// The smallest program over MPI: all ranks add up what they hold.
#include <allfold/allfold.hpp>
#include <allfold/communicator/mpi.hpp>

#include <vector>

int main(int count, char** values) {
  const allfold::mpi::environment mpi{count, values};
  allfold::mpi::communicator world{MPI_COMM_WORLD};
  std::vector<float> sums(3, 1.0f);
  allfold::all_reduce(world, sums);
  return world.size() == 2 && sums == std::vector<float>(3, 2.0f) ? 0 : 1;
}
