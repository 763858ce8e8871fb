#include "data_parallel/accumulating_gradients.hpp"

#include "support.hpp"

namespace data_parallel_md::accumulating_gradients {

struct learner : docs::learner {
  void zero_gradients() {
    for (auto& each : slopes) each.assign(each.size(), 0);
  }
  void backward(float goal, auto&& ready) {
    const auto before = slopes;
    docs::learner::backward(goal, [](std::size_t) {});
    for (std::size_t i = 0; i < slopes.size(); ++i) {
      for (std::size_t k = 0; k < slopes[i].size(); ++k) slopes[i][k] += before[i][k];
      ready(i);
    }
  }
};

TEST_CASE("data_parallel.md: gradients of several passes are reduced together") {
  docs::descend optimizer;
  const auto end = docs::train<learner>(2, [&](auto& world, auto& model) {
    allfold::data_parallel<learner, allfold::distributed<>> replica{model, world};
    const auto own = static_cast<float>(world.rank());
    train_step(replica, model, std::vector{own, 2 + own}, optimizer);
    if (replica.steps() != 1) throw std::logic_error{"it has taken several steps"};
  });
  for (const float each : end.all()) CHECK(each == 1.5f);  // two half ways to the mean of all
}

}  // namespace data_parallel_md::accumulating_gradients
