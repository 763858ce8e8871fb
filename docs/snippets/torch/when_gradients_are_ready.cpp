#include "torch/when_gradients_are_ready.hpp"

#include <doctest/doctest.h>

namespace torch_md::when_gradients_are_ready {

TEST_CASE("torch.md: passes of one's own, and gradients that come together") {
  std::vector<float> of_two(2), of_three(2);
  allfold::spawn(2, [&](auto& world) {
    torch::set_num_threads(1);
    const auto rank = static_cast<std::size_t>(world.rank());
    torch::nn::Linear net{4, 2};
    allfold::torch_model model{net};
    allfold::data_parallel<allfold::torch_model<>, allfold::distributed<>> replica{model, world};
    // The gradient of a bias is how often it was used: by the rank's number, rows on each.
    const auto loss = [&] {
      return net->forward(torch::ones({static_cast<long>(rank) + 1, 4})).sum();
    };
    const auto slope = [&] { return net->bias.grad()[0].template item<float>(); };
    backward(replica, model, loss());
    of_two[rank] = slope();
    net->zero_grad(false);
    accumulate(replica, model, std::vector{loss(), loss()}, loss());
    of_three[rank] = slope();
  });
  for (const float each : of_two) CHECK(each == 1.5f + 1.5f);
  for (const float each : of_three) CHECK(each == 3 * 1.5f);
}

}  // namespace torch_md::when_gradients_are_ready
