#include "writing_a_strategy/out_of_another_one.hpp"

#include "support.hpp"

namespace writing_a_strategy_md::out_of_another_one {

TEST_CASE("writing_a_strategy.md: all throw alike if a gradient has gone wrong") {
  const auto run = [](float goal_of_last) {
    return allfold::try_spawn(2, [&](auto& world) {
      docs::learner model;
      allfold::data_parallel<docs::learner, checked> replica{model, world};
      replica.backward(
          [&](auto&& ready) { model.backward(world.rank() == 1 ? goal_of_last : 1.0f, ready); });
    });
  };
  for (const auto& each : run(1)) CHECK(each == nullptr);
  for (const auto& each : run(INFINITY))
    CHECK_THROWS_WITH(std::rethrow_exception(each), doctest::Contains("a gradient is not finite"));
}

}  // namespace writing_a_strategy_md::out_of_another_one
