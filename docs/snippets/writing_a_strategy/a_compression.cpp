#include "writing_a_strategy/a_compression.hpp"

#include "support.hpp"

namespace writing_a_strategy_md::a_compression {

TEST_CASE("writing_a_strategy.md: one bit for each element") {
  const docs::learner begin{{640}};
  const auto end = docs::train(
      2,
      [](auto& world, auto& model) {
        replica<docs::learner> replica{model, world};
        for (int step = 0; step < 100; ++step) {
          replica.backward([&](auto&& ready) {
            model.backward(static_cast<float>(200 + 200 * world.rank()), ready);
          });
          replica.step([](std::span<float> values, std::span<const float> gradient) {
            for (std::size_t k = 0; k < values.size(); ++k) values[k] -= 0.05f * gradient[k];
          });
        }
        const auto& it = replica.compression();
        if (it.bytes_sent() * 640 != it.bytes_uncompressed() * 21)  // and the magnitude
          throw std::logic_error{"other bytes"};
      },
      begin);
  const auto distance = [](const docs::learner& its) {
    float most = 0;
    for (const float each : its.all()) most = std::max(most, std::abs(each - 300));
    return most;
  };
  CHECK(distance(end) < 0.25f * distance(begin));
}

}  // namespace writing_a_strategy_md::a_compression
