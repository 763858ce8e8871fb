// Ranks on two nodes over an MPI that was begun for one thread, which is what mpi::environment asks
// for if nothing is said: long messages too are MPI's main thread's alone.
#include <allfold/allfold.hpp>
#include <allfold/communicator/mpi.hpp>
#include <allfold/launch/nodes.hpp>

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using allfold::direct;
using allfold::hierarchical;
using allfold::native;

template <class Algorithm, class World>
void fold(World& world, std::size_t count) {
  std::vector<float> data(count, static_cast<float>(world.rank() + 1));
  allfold::all_reduce<Algorithm>(world, data);
  const int size = world.size();
  if (data != std::vector<float>(count, static_cast<float>(size * (size + 1) / 2)))
    throw std::runtime_error{"a wrong sum of " + std::to_string(count) + " elements"};
}

}  // namespace

int main(int count, char** values) {
  const allfold::mpi::environment mpi{count, values};
  try {
    allfold::mpi::communicator flat{MPI_COMM_WORLD, {.timeout = std::chrono::seconds{20}}};
    auto world = allfold::make_nodes(
        flat, flat.rank() / 2, {.piece_bytes = 4096},
        {.timeout = std::chrono::seconds{20}, .arena_bytes = std::size_t{64} << 20});
    if (world.pipelined()) throw std::runtime_error{"a second thread may call this MPI"};
    for (const std::size_t elements : {1u, 1'000u, 100'003u}) {
      fold<hierarchical<direct, native>>(world, elements);
      fold<direct>(world, elements);
    }
    flat.meet();
    if (world.rank() == 0) std::puts("all is well");
  } catch (const std::exception& thrown) {
    std::printf("%s\n", thrown.what());
    return 1;
  }
}
