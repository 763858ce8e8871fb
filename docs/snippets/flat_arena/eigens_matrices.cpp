#include "flat_arena/eigens_matrices.hpp"

#include <doctest/doctest.h>

namespace flat_arena_md::eigens_matrices {

TEST_CASE("flat_arena.md: a model that shows an array of matrices") {
  using model_type = two_layers<std::vector<float>>;
  std::vector<float> reduced(2);
  allfold::spawn(2, [&](auto& world) {
    model_type model;
    model.values.fill(std::vector<float>(6));
    model.slopes.fill(std::vector<float>(6, static_cast<float>(world.rank())));
    allfold::data_parallel<model_type, allfold::distributed<>> replica{model, world};
    replica.reduce_gradients();
    reduced[static_cast<std::size_t>(world.rank())] = model.slopes[3][5];
  });
  for (const float each : reduced) CHECK(each == 0.5f);
}

}  // namespace flat_arena_md::eigens_matrices
