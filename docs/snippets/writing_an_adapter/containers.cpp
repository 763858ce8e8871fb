#include "writing_an_adapter/containers.hpp"

#include <doctest/doctest.h>

namespace writing_an_adapter_md::containers {

TEST_CASE("writing_an_adapter.md: another container is an operand") {
  float sums[2] = {};
  allfold::spawn(2, [&](auto& world) {
    float elements[5] = {0, 0, 0, 0, static_cast<float>(world.rank() + 1)};
    engine::tensor values{elements, 5};
    add_up(world, values);
    sums[world.rank()] = elements[4];
  });
  for (const float each : sums) CHECK(each == 3);
}

}  // namespace writing_an_adapter_md::containers
