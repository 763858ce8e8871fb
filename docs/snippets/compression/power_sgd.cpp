#include "compression/power_sgd.hpp"

#include "support.hpp"

namespace compression_md::power_sgd {

TEST_CASE("compression.md: the first 500 steps are uncompressed") {
  using strategy = allfold::distributed<allfold::direct, allfold::buckets<>, low_rank>;
  const auto end = docs::train(2, [](auto& world, auto& model) {
    allfold::data_parallel<docs::learner, strategy> replica{model, world};
    for (int step = 0; step < 3; ++step) {
      replica.backward([&](auto&& ready) { model.backward(5, ready); });
      replica.step(docs::descend{});
    }
    if (replica.compression().bytes_sent() < replica.compression().bytes_uncompressed())
      throw std::logic_error{"it has compressed"};
  });
  docs::check_drawn(end, 5, 3);
}

}  // namespace compression_md::power_sgd
