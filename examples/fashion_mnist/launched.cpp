// Fashion-MNIST by ranks that are threads, processes of this program, or processes of this machine
// that a launcher has started: allfold-run, mpirun, srun.

#include "any_ranks.hpp"

#include <allfold/communicator/processes.hpp>
#include <allfold/launch/connect.hpp>
#include <allfold/launch/environment.hpp>
#include <allfold/launch/spawn_processes.hpp>
#if __has_include(<asio.hpp>)
#include <allfold/launch/tcp_rendezvous.hpp>
#endif

namespace {

using namespace fashion_mnist;

allfold::exchange_bytes meet(const allfold::launch_environment& told, const arguments& given) {
  using namespace allfold;
  const rendezvous_options how{.timeout = given.patience()};
#if __has_include(<asio.hpp>)
  return connect<file_rendezvous, tcp_rendezvous>(told, how);
#else
  return connect<file_rendezvous>(told, how);
#endif
}

void run_launched(const arguments& given) {
  const auto told = allfold::from_environment({.or_alone = true});
  if (told.local_size != told.size)
    throw std::runtime_error{"ranks on several machines need fashion_mnist_over_mpi"};
  allfold::processes::communicator world{
      told.rank, told.size, meet(told, given), {.timeout = given.patience()}};
  train<allfold::direct>(world, given);
}

void run(const arguments& given) {
  const auto live = [&](auto& world) { train<allfold::direct>(world, given); };
  if (given.ranks_as == "threads")
    allfold::spawn(given.ranks, live, {.timeout = given.patience()});
  else if (given.ranks_as == "processes")
    allfold::spawn_processes(given.ranks, live, {.timeout = given.patience()});
  else
    run_launched(given);
}

}  // namespace

int main(int count, char** values) {
  return run_program("fashion_mnist_launched", {"threads", "processes", "launched"}, count, values,
                     run);
}
