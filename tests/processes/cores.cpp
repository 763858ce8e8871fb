// Ranks that may use different numbers of cores choose the same algorithms.
#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "support/exchanging.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace {

using world_type = allfold::processes::communicator;

const allfold::processes::options quick{.timeout = std::chrono::seconds{60},
                                        .arena_bytes = std::size_t{64} << 20};

int pretended_cores = 0;  // of this process; 0: those that there are

void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error{what};
}

/// What `automatic` and the slots choose differently with more ranks than cores.
void use(world_type& world) {
  for (const std::size_t count : {1u, 50u, 300u, 700u, 2000u, 200'000u}) {
    std::vector<float> sums(count, 1.0f), sent(count, static_cast<float>(world.rank()));
    allfold::all_reduce(world, sums);
    require(sums.back() == static_cast<float>(world.size()), "a sum is wrong");
    allfold::broadcast(world, sent, 0);
    require(sent.back() == 0.0f, "a broadcast is wrong");
  }
}

/// Runs body(world) on as many ranks as there are numbers, rank r on a machine of cores[r] cores as
/// far as it can see.
template <class Body>
void run_on(const std::vector<int>& cores, Body body) {
  allfold::spawn_processes(
      static_cast<int>(cores.size()),
      [&](world_type& team) {
        pretended_cores = cores[static_cast<std::size_t>(team.rank())];
        world_type world{team.rank(), team.size(), test::exchange_by(team), quick};
        body(world);
      },
      quick);
}

void require_crowded(world_type& world, bool expected) {
  require(world.crowded() == expected, "rank " + std::to_string(world.rank()) + " of " +
                                           std::to_string(world.size()) + " is " +
                                           (expected ? "not " : "") + "crowded");
  use(world);
}

}  // namespace

/// In place of the C library's, for all of this program.
extern "C" int sched_getaffinity(pid_t process, std::size_t bytes, cpu_set_t* cores) noexcept {
  CPU_ZERO_S(bytes, cores);
  if (pretended_cores == 0)
    return syscall(SYS_sched_getaffinity, process, bytes, cores) < 0 ? -1 : 0;
  for (int core = 0; core < pretended_cores; ++core)
    CPU_SET_S(static_cast<std::size_t>(core), bytes, cores);
  return 0;
}

TEST_CASE("ranks that are bound by allfold-run --bind even -n 3 on 8 cores") {
  run_on({2, 3, 3}, [](world_type& world) { require_crowded(world, true); });
  run_on({3, 3, 2}, [](world_type& world) { require_crowded(world, true); });
  run_on({3, 3, 3}, [](world_type& world) { require_crowded(world, false); });
}

TEST_CASE("ranks that are bound to one core and to all") {
  if (allfold::usable_cores() < 2) {
    MESSAGE("skipped: there is one core");
    return;
  }
  for (const int bound : {0, 1})
    allfold::spawn_processes(
        2,
        [&](world_type& team) {
          if (team.rank() == bound) require(allfold::pin_this_thread(0), "it can't be bound");
          world_type world{team.rank(), team.size(), test::exchange_by(team), quick};
          require_crowded(world, true);
        },
        quick);
}

TEST_CASE("a companion is crowded for all or for none") {
  run_on({3, 8}, [](world_type& world) {
    require_crowded(world, false);
    world_type other = world.companion();
    require_crowded(other, true);
  });
  run_on({4, 8}, [](world_type& world) {
    world_type other = world.companion();
    require_crowded(other, false);
  });
}

TEST_CASE("those that are left are crowded for all or for none") {
  for (const bool crowded : {false, true})
    run_on({crowded ? 2 : 3, 3, 3, 2}, [&](world_type& world) {
      require_crowded(world, true);
      try {
        allfold::barrier(world);  // nobody is in `use` any more
        if (world.rank() == 3) return;
        allfold::barrier(world);
      } catch (const allfold::error&) {  // rank 3 has left, or another goes on without it already
      }
      world_type left = world.shrink();
      require(left.size() == 3, "somebody else is out");
      require_crowded(left, crowded);
    });
}
