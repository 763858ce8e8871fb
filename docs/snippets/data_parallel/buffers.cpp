#include "data_parallel/buffers.hpp"

#include "support.hpp"

namespace data_parallel_md::buffers {

TEST_CASE("data_parallel.md: buffers are copied from rank 0 once") {
  std::vector<double> means(2);
  allfold::spawn(2, [&](auto& world) {
    normalised model;
    model.weights.resize(2);
    model.slopes.resize(2);
    model.running_mean.assign(3, world.rank() + 1);
    without_copies(world, model);
    means[static_cast<std::size_t>(world.rank())] = model.running_mean[2];
  });
  for (const double each : means) CHECK(each == 1);
}

}  // namespace data_parallel_md::buffers
