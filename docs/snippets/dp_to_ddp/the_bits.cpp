#include "dp_to_ddp/the_bits.hpp"

#include "support.hpp"

namespace dp_to_ddp_md::the_bits {

TEST_CASE("dp_to_ddp.md: both strategies train to the same bits") {
  const auto train = [](auto& world, auto& model, auto& replica) {
    for (int step = 0; step < 5; ++step) {
      replica.backward([&](auto&& ready) {
        model.backward(0.1f * static_cast<float>(world.rank() + 1), ready);
      });
      replica.step(docs::descend{});
    }
  };
  CHECK(trains_alike<docs::learner>(3, train));
  CHECK_FALSE(trains_alike<docs::learner>(3, [&](auto& world, auto& model, auto& replica) {
    train(world, model, replica);
    if (replica.steps_everywhere) model.values[0][0] = 1;
  }));
}

}  // namespace dp_to_ddp_md::the_bits
