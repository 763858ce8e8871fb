// Programs that end in a certain way, and by themselves: mpirun must neither wait forever nor take
// a failure for a success.
#include <allfold/allfold.hpp>
#include <allfold/communicator/mpi.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

struct model {
  std::vector<float> weights{1}, slopes{0};
  std::array<std::span<float>, 1> parameters() { return {weights}; }
  std::array<std::span<float>, 1> gradients() { return {slopes}; }
};

/// With MPI for one thread only, no second one reduces gradients.
bool overlaps(allfold::mpi::communicator& world) {
  model its;
  allfold::data_parallel<model, allfold::distributed<>> replica{
      its, world, {.overlap = allfold::overlap::by_thread}};
  replica.reduce_gradients();
  return replica.overlaps();
}

void work(allfold::mpi::communicator& world, const std::string& ending) {
  std::vector<float> data(1000, 1.0f);
  allfold::all_reduce(world, data);
  if (world.rank() == 1 && ending == "throws") throw std::runtime_error{"sample 31415 is torn"};
  if (world.rank() == 1 && ending == "hangs") std::this_thread::sleep_for(60s);
  allfold::all_reduce(world, data);
  if (data[0] != static_cast<float>(world.size() * world.size()))
    throw std::logic_error{"a wrong sum"};
  if (world.has_companion() || overlaps(world)) throw std::logic_error{"a second thread"};
  std::puts("all is well");
}

}  // namespace

int main(int count, char** values) {
  try {
    const allfold::mpi::environment mpi{count, values};
    allfold::mpi::communicator world{MPI_COMM_WORLD, {.timeout = 500ms}};
    const std::string ending = count > 1 ? values[1] : "well";
    if (ending != "hangs") {
      work(world, ending);
      return 0;
    }
    try {
      work(world, ending);
    } catch (const allfold::error& failure) {
      std::puts(failure.what());
    }
  } catch (const std::exception& failure) {
    std::puts(failure.what());
    // A launcher ends all processes at once when the first one ends like that: all have their say.
    std::fflush(stdout);
    std::this_thread::sleep_for(1s);
    return 1;
  }
}
