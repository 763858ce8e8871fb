#include "algorithms/automatic_and_tables_of_your_own.hpp"

#include "support.hpp"

namespace algorithms_md::automatic_and_tables_of_your_own {

TEST_CASE("algorithms.md: a table of one's own") {
  for (const int ranks : {2, 3, 4}) {  // each has a rule
    std::vector<float> sums(static_cast<std::size_t>(ranks));
    allfold::spawn(ranks, [&](auto& world) {
      std::vector<float> parameters(300'000, static_cast<float>(1 + world.rank()));
      share(world, parameters);
      share(world, std::span{parameters}.first(100));
      sums[static_cast<std::size_t>(world.rank())] = parameters.front() + parameters.back();
    });
    for (const float each : sums) CHECK(each == 2);
  }
  const auto end = docs::train(3, [](auto& world, auto& model) {
    replica<docs::learner> replica{model, world};
    replica.backward(
        [&](auto&& ready) { model.backward(static_cast<float>(world.rank()), ready); });
    replica.step(docs::descend{});
  });
  docs::check_drawn(end, 1, 1);
}

}  // namespace algorithms_md::automatic_and_tables_of_your_own
