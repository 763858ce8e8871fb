// Fashion-MNIST by ranks that mpirun or srun has started, on one machine or on many: all of it by
// MPI, or by shared memory inside each machine and by MPI across machines.

#include "any_ranks.hpp"

#include <allfold/communicator/mpi.hpp>
#include <allfold/launch/nodes.hpp>

#include <thread>

namespace {

using namespace fashion_mnist;

// The smallest rank on this rank's machine, as MPI knows machines: the same number for all there.
int machine() {
  MPI_Comm here = MPI_COMM_NULL;
  int first = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &first);
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here);
  MPI_Bcast(&first, 1, MPI_INT, 0, here);
  MPI_Comm_free(&here);
  return first;
}

void run(const arguments& given) {
  allfold::mpi::communicator flat{MPI_COMM_WORLD, {.timeout = given.patience()}};
  if (given.ranks_as == "mpi") return train<allfold::native>(flat, given);
  auto world = allfold::make_nodes(flat, machine(), {}, {.timeout = given.patience()});
  train<allfold::direct>(world, given);
}

}  // namespace

int main(int count, char** values) {
  const allfold::mpi::environment mpi{count, values, MPI_THREAD_MULTIPLE};
  const int status = run_program("fashion_mnist_over_mpi", {"nodes", "mpi"}, count, values, run);
  // The launcher ends all when the first ends: those that are about to fail may say why.
  if (status == 2) std::this_thread::sleep_for(std::chrono::seconds{3});
  return status;
}
