#include "writing_a_schedule/prove_it_2.hpp"

#include <doctest/doctest.h>

#include <vector>

namespace writing_a_schedule_md::prove_it_2 {

TEST_CASE("writing_a_schedule.md: what has been proven is trusted") {
  std::vector<float> sums(2);
  allfold::spawn(2, [&](auto& world) {
    std::vector<float> data(5, static_cast<float>(world.rank() + 1));
    allfold::all_reduce<proven_ring>(world, data);
    sums[static_cast<std::size_t>(world.rank())] = data[4];
  });
  for (const float each : sums) CHECK(each == 3);
}

}  // namespace writing_a_schedule_md::prove_it_2
