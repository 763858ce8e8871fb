#include "data_parallel/what_a_model_offers.hpp"

#include "support.hpp"

namespace data_parallel_md::what_a_model_offers {

TEST_CASE("data_parallel.md: a model, and messages with its names") {
  std::vector<float> reduced(2);
  allfold::spawn(2, [&](auto& world) {
    const auto own = static_cast<float>(world.rank());
    linear model;
    model.weights.assign(5, own);
    model.weight_gradients.assign(5, own);
    allfold::data_parallel<linear, allfold::distributed<>> replica{model, world};
    replica.reduce_gradients();
    reduced[static_cast<std::size_t>(world.rank())] = model.weight_gradients[4] + model.weights[4];
  });
  for (const float each : reduced) CHECK(each == 0.5f);

  const auto thrown = allfold::try_spawn(2, [&](auto& world) {
    linear model;
    model.weights.resize(world.rank() == 0 ? 5 : 6);
    model.weight_gradients.resize(model.weights.size());
    allfold::data_parallel<linear, allfold::distributed<>> replica{model, world};
  });
  for (const auto& each : thrown)
    CHECK_THROWS_WITH_AS(std::rethrow_exception(each), doctest::Contains("weights"),
                         allfold::mismatch_error);
}

}  // namespace data_parallel_md::what_a_model_offers
