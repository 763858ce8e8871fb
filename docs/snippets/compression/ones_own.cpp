#include "compression/ones_own.hpp"

#include "support.hpp"

namespace compression_md::ones_own {

TEST_CASE("compression.md: four steps train each quarter once") {
  using strategy = allfold::distributed<allfold::direct, allfold::buckets<>, quarters>;
  const auto end = docs::train(2, [](auto& world, auto& model) {
    allfold::data_parallel<docs::learner, strategy> replica{model, world};
    for (int step = 0; step < 4; ++step) {
      replica.backward(
          [&](auto&& ready) { model.backward(static_cast<float>(4 * world.rank()), ready); });
      replica.step(docs::descend{});
    }
  });
  docs::check_drawn(end, 2, 1);
}

}  // namespace compression_md::ones_own
