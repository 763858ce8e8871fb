#include "writing_an_adapter/models.hpp"

#include <doctest/doctest.h>

namespace writing_an_adapter_md::models {

TEST_CASE("writing_an_adapter.md: a model by free functions, and messages with its names") {
  const auto make = [](std::size_t size) {
    engine::network net;
    for (const char* name : {"first", "second"})
      net.layers.push_back(std::make_unique<engine::layer>(
          engine::layer{name, std::vector<float>(size), std::vector<float>(size)}));
    return net;
  };
  std::vector<float> reduced(2);
  allfold::spawn(2, [&](auto& world) {
    auto net = make(4);
    replica<allfold::threads::communicator> replica{net, world};
    net.layers[1]->slopes[3] = static_cast<float>(world.rank());
    replica.reduce_gradients();
    reduced[static_cast<std::size_t>(world.rank())] = net.layers[1]->slopes[3];
  });
  for (const float each : reduced) CHECK(each == 0.5f);

  const auto thrown = allfold::try_spawn(2, [&](auto& world) {
    auto net = make(world.rank() == 0 ? 4 : 5);
    replica<allfold::threads::communicator> replica{net, world};
  });
  for (const auto& each : thrown)
    CHECK_THROWS_WITH_AS(std::rethrow_exception(each), doctest::Contains("first"),
                         allfold::mismatch_error);
}

}  // namespace writing_an_adapter_md::models
