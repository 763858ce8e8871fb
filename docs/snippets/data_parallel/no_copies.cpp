#include "data_parallel/no_copies.hpp"

#include "support.hpp"

namespace data_parallel_md::no_copies {

TEST_CASE("data_parallel.md: gradients that lie side by side are reduced by one collective") {
  std::vector<float> reduced(2);
  allfold::spawn(2, [&](auto& world) {
    layers model;
    model.weights = {std::vector<float>(4), std::vector<float>(3), std::vector<float>(2)};
    allfold::data_parallel<layers, allfold::distributed<>> replica{model, world};
    if (replica.collectives_per_step() != 1) throw std::logic_error{"there are several"};
    for (const auto part : model.slopes)
      for (float& each : part) each = static_cast<float>(world.rank());
    replica.reduce_gradients();
    reduced[static_cast<std::size_t>(world.rank())] = model.slopes[2][1];
  });
  for (const float each : reduced) CHECK(each == 0.5f);
}

}  // namespace data_parallel_md::no_copies
