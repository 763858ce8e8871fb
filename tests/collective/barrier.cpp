// barrier: nobody leaves before everybody has entered.
#include <allfold/collective/barrier.hpp>
#include <allfold/launch/spawn.hpp>
#include <allfold/schedule/automatic.hpp>
#include <allfold/schedule/dissemination.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/elements.hpp"
#include "support/failures.hpp"
#include "support/most_ranks.hpp"

namespace {

constexpr int rounds = 200;

/// Many barriers in a row on ranks that come at different times.
template <class Algorithm>
void try_barriers(int ranks, test::failures& list) {
  const auto size = static_cast<std::size_t>(ranks);
  std::vector<std::atomic<int>> entered(rounds);
  std::vector<int> told(size);  // not atomic: the barriers alone order its uses
  const auto complain = [&](int round, int rank, const char* what) {
    list.add(std::to_string(ranks) + " ranks, round " + std::to_string(round) + ", rank " +
             std::to_string(rank) + ": " + what);
  };
  allfold::spawn(ranks, [&](auto& world) {
    const auto rank = static_cast<std::size_t>(world.rank());
    test::random_bits random{rank};
    for (int round = 0; round < rounds; ++round) {
      const std::uint64_t pauses = random.below(3) == 0 ? random.below(20) : 0;
      for (std::uint64_t i = 0; i < pauses; ++i) std::this_thread::yield();
      told[rank] = round + 1;
      const auto number = static_cast<std::size_t>(round);
      entered[number].fetch_add(1, std::memory_order_relaxed);
      allfold::barrier<Algorithm>(world);
      if (entered[number].load(std::memory_order_relaxed) != ranks)
        complain(round, world.rank(), "has left before all have entered");
      for (const int each : told)
        if (each != round + 1)
          complain(round, world.rank(), "does not see what was written before");
      allfold::barrier<Algorithm>(world);
    }
  });
}

}  // namespace

TEST_CASE_TEMPLATE("nobody leaves before all have entered", algorithm, allfold::automatic,
                   allfold::direct, allfold::dissemination) {
  test::failures list;
  for (int ranks = 1; ranks <= test::most_ranks; ++ranks) try_barriers<algorithm>(ranks, list);
  try_barriers<algorithm>(24, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("a rank that comes late keeps all others", algorithm, allfold::direct,
                   allfold::dissemination) {
  constexpr int ranks = 6;
  std::atomic<bool> arrived{false};
  std::atomic<int> early{0};
  for (int late = 0; late < ranks; ++late) {
    arrived = false;
    allfold::spawn(ranks, [&](auto& world) {
      if (world.rank() == late) {
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
        arrived = true;
      }
      allfold::barrier<algorithm>(world);
      if (!arrived) ++early;
    });
  }
  CHECK(early == 0);
}
