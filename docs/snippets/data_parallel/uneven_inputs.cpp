#include "data_parallel/uneven_inputs.hpp"

#include "support.hpp"

namespace data_parallel_md::uneven_inputs {

TEST_CASE("data_parallel.md: means over the ranks that still have inputs") {
  docs::descend optimizer;
  const auto end = docs::train(2, [&](auto& world, auto& model) {
    allfold::data_parallel<docs::learner, allfold::distributed<>> replica{model, world};
    const std::vector<float> own_batches(world.rank() == 0 ? 3 : 1, 9.0f);
    train_epoch(replica, model, own_batches, optimizer);
  });
  docs::check_drawn(end, 9, 3);
}

}  // namespace data_parallel_md::uneven_inputs
