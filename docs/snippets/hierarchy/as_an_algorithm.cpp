#include "hierarchy/as_an_algorithm.hpp"

#include "support.hpp"

namespace hierarchy_md::as_an_algorithm {

TEST_CASE("hierarchy.md: an algorithm for each level") {
  std::vector<float> sums(4), gradients(4);
  allfold::spawn(4, [&](auto& flat) {
    const auto rank = static_cast<std::size_t>(flat.rank());
    auto world = allfold::make_nodes(flat, flat.rank() / 2);
    std::vector<float> data(10, static_cast<float>(rank + 1));
    sum(world, data);  // four times
    sums[rank] = data[9];
    docs::learner model;
    replica<docs::learner> replica{model, world};
    replica.backward([&](auto&& ready) { model.backward(static_cast<float>(rank), ready); });
    gradients[rank] = model.slopes[0][0];
  });
  for (const float each : sums) CHECK(each == 10 * 4 * 4 * 4);
  for (const float each : gradients) CHECK(each == 1 - 1.5f);
}

}  // namespace hierarchy_md::as_an_algorithm
