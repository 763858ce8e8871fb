#include "writing_a_schedule/other_collectives.hpp"

#include <doctest/doctest.h>

namespace writing_a_schedule_md::other_collectives {

TEST_CASE("writing_a_schedule.md: everybody copies in turn") {
  for (int ranks = 2; ranks <= 4; ++ranks) {
    std::vector<float> values(static_cast<std::size_t>(ranks));
    allfold::spawn(ranks, [&](auto& world) {
      std::vector<float> parameters(9, static_cast<float>(world.rank()));
      share(world, parameters);
      values[static_cast<std::size_t>(world.rank())] = parameters[8];
    });
    for (const float each : values) CHECK(each == 1);
  }
}

}  // namespace writing_a_schedule_md::other_collectives
