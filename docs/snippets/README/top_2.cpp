#include "README/top_2.hpp"

#include "support.hpp"

namespace README_md::top_2 {

TEST_CASE("README: a training loop, whatever the strategy") {
  const std::vector<float> data = docs::numbers(128);  // a step of two ranks is an epoch
  docs::descend optimizer;
  const auto by = [&]<class Strategy>() {
    const auto end = docs::train(
        2, [&](auto& world, auto& model) { train<Strategy>(world, model, optimizer, data); });
    docs::check_drawn(end, 63.5f, 10);
  };
  by.operator()<allfold::primary_device<>>();
  by.operator()<allfold::distributed<allfold::ring>>();
}

}  // namespace README_md::top_2
