#include "writing_a_strategy/a_strategy.hpp"

#include "support.hpp"

namespace writing_a_strategy_md::a_strategy {

TEST_CASE("writing_a_strategy.md: gradients are folded at the root, and every rank steps") {
  const auto end = docs::train(3, [](auto& world, auto& model) {
    replica<docs::learner> replica{model, world};
    for (int step = 0; step < 2; ++step) {
      replica.backward(
          [&](auto&& ready) { model.backward(static_cast<float>(world.rank()), ready); });
      replica.step(docs::descend{});
    }
  });
  docs::check_drawn(end, 1, 2);
}

}  // namespace writing_a_strategy_md::a_strategy
