#include "writing_a_schedule/a_schedule_for_two_sockets.hpp"

#include <doctest/doctest.h>

#include <vector>

namespace writing_a_schedule_md::a_schedule_for_two_sockets {

TEST_CASE("writing_a_schedule.md: two sockets sum, on any number of ranks") {
  for (int ranks = 1; ranks <= 5; ++ranks) {
    std::vector<int> sums(static_cast<std::size_t>(ranks));
    allfold::spawn(ranks, [&](auto& world) {
      std::vector<int> data(7, 1 << world.rank());
      allfold::all_reduce<two_sockets>(world, data);
      sums[static_cast<std::size_t>(world.rank())] = data[6];
    });
    for (const int each : sums) CHECK(each == (1 << ranks) - 1);
  }
  // What the page says of it.
  CHECK_FALSE(allfold::prove<two_sockets>(8).rank_ordered);
  CHECK(allfold::prove<two_sockets>(13).sound());
}

}  // namespace writing_a_schedule_md::a_schedule_for_two_sockets
