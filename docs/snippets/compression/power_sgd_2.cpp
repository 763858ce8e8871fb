#include "compression/power_sgd_2.hpp"

#include "support.hpp"

namespace compression_md::power_sgd_2 {

TEST_CASE("compression.md: gradients in their own shape") {
  CHECK(rows_of_layer::length(784 * 512) == 512);
  CHECK(rows_of_layer::length(512) == 512);

  // From the first step on, instead of the 100th.
  using at_once =
      allfold::distributed<allfold::direct, allfold::buckets<1, 1>,
                           allfold::power_sgd<4, allfold::power_sgd_options{}, rows_of_layer>>;
  const auto sent_in_a_step = [](auto strategy) {
    std::uint64_t sent = 0;
    allfold::spawn(2, [&](auto& world) {
      docs::learner model{{784 * 512, 512}};
      allfold::data_parallel<docs::learner, decltype(strategy)> replica{model, world};
      replica.backward([&](auto&& ready) { model.backward(5, ready); });
      if (world.rank() == 0) sent = replica.compression().bytes_sent();
    });
    return sent;
  };
  CHECK(sent_in_a_step(in_shape{}) == (784 * 512 + 512) * sizeof(float));
  CHECK(sent_in_a_step(at_once{}) == (4 * (784 + 512) + 512) * sizeof(float));
}

}  // namespace compression_md::power_sgd_2
