#include "data_parallel/compression.hpp"

#include "support.hpp"

namespace data_parallel_md::compression {

TEST_CASE("data_parallel.md: bfloat16 halves the bytes") {
  const auto sent = [](auto strategy) {
    double share = 0;
    const auto end = docs::train(2, [&](auto& world, auto& model) {
      allfold::data_parallel<docs::learner, decltype(strategy)> replica{model, world};
      replica.backward([&](auto&& ready) { model.backward(5, ready); });
      replica.step(docs::descend{});
      const auto& it = replica.compression();
      if (world.rank() == 0)
        share = static_cast<double>(it.bytes_sent()) / static_cast<double>(it.bytes_uncompressed());
    });
    docs::check_drawn(end, 5, 1);  // small numbers have few digits, and small matrices a low rank
    return share;
  };
  CHECK(sent(half_the_bytes{}) == 0.5);
  CHECK(sent(low_rank{}) <= 1);
}

}  // namespace data_parallel_md::compression
