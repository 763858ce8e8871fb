#include "numerics/clipping_gradients.hpp"

#include "support.hpp"

namespace numerics_md::clipping_gradients {

TEST_CASE("numerics.md: gradients are clipped to a norm of 1") {
  docs::descend optimizer;
  const auto end = docs::train(
      2,
      [&](auto& world, auto& model) {
        allfold::data_parallel<docs::learner, allfold::distributed<>> replica{model, world};
        model.slopes[0] = {6 * static_cast<float>(world.rank()), 4};  // means: 3 and 4
        replica.reduce_gradients();
        const double norm = clip_and_step(replica, model, optimizer);
        if (std::abs(norm - 5) > 1e-6) throw std::logic_error{"another norm"};
      },
      docs::learner{{2}});
  CHECK(end.all()[0] == doctest::Approx(1 - 0.5 * 0.6));
  CHECK(end.all()[1] == doctest::Approx(2 - 0.5 * 0.8));
}

}  // namespace numerics_md::clipping_gradients
