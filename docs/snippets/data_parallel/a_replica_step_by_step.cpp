#include "data_parallel/a_replica_step_by_step.hpp"

#include "support.hpp"

namespace data_parallel_md::a_replica_step_by_step {

struct learner : docs::learner {
  float goal = 0;

  void forward(const std::vector<float>& data, std::span<const std::size_t> batch) {
    goal = 0;
    for (const std::size_t each : batch) goal += data[each] / static_cast<float>(batch.size());
  }
  void backward(auto&& ready) { docs::learner::backward(goal, ready); }
};

TEST_CASE("data_parallel.md: a replica, step by step") {
  const std::vector<float> data = docs::numbers(128);
  docs::descend optimizer;
  const auto end = docs::train<learner>(
      2, [&](auto& world, auto& model) { train(world, model, optimizer, data); });
  docs::check_drawn(end, 63.5f, 10);
}

}  // namespace data_parallel_md::a_replica_step_by_step
