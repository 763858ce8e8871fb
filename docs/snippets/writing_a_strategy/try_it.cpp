#include "writing_a_strategy/try_it.hpp"

#include <doctest/doctest.h>

namespace writing_a_strategy_md::try_it {

TEST_CASE("writing_a_strategy.md: whether all ranks hold the same") {
  const auto throws = [](float of_last) {
    const auto thrown = allfold::try_spawn(3, [&](auto& world) {
      std::vector<float> values(4, 1);
      if (world.rank() == 2) values[3] = of_last;
      require_equal(world, values);
    });
    return std::count(thrown.begin(), thrown.end(), nullptr);
  };
  CHECK(throws(1) == 3);
  CHECK(throws(2) == 0);
}

}  // namespace writing_a_strategy_md::try_it
