// Ranks of which one is killed in the midst of its work. The others go on without it, as long as
// who has started them lets them live.
#include <allfold/allfold.hpp>
#include <allfold/communicator/processes.hpp>
#include <allfold/launch/connect.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <vector>

int main() {
  try {
    const auto told = allfold::from_environment();
    const auto exchange = allfold::connect<allfold::file_rendezvous>(told);
    allfold::processes::communicator world{
        told.rank, told.size, exchange, {.timeout = std::chrono::seconds{60}}};
    std::vector<int> sum(1000);
    for (int step = 0; step < 20;) try {
        if (world.size() == told.size && step == 10 && told.rank == 1) raise(SIGKILL);
        sum.assign(sum.size(), 1);
        allfold::all_reduce(world, sum);
        allfold::barrier(world);
        ++step;
      } catch (const allfold::rank_lost_error& lost) {
        std::printf("%s\n", lost.what());
        world = world.shrink();
      }
    std::printf("%d of %d: %d\n", world.rank(), world.size(), sum[999]);
    return 0;
  } catch (const allfold::error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
  }
}
