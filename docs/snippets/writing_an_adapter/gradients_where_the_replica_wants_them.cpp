#include "writing_an_adapter/gradients_where_the_replica_wants_them.hpp"

#include <doctest/doctest.h>

namespace writing_an_adapter_md::gradients_where_the_replica_wants_them {

TEST_CASE("writing_an_adapter.md: gradients lie where the replica wants them") {
  std::vector<float> reduced(2);
  allfold::spawn(2, [&](auto& world) {
    engine::graph its{{std::vector<float>(4), std::vector<float>(3)}, {}};
    allfold::data_parallel<engine::graph, allfold::distributed<>> replica{its, world};
    its.slopes[1][2] = static_cast<float>(world.rank());
    replica.reduce_gradients();
    reduced[static_cast<std::size_t>(world.rank())] = its.slopes[1][2];
  });
  for (const float each : reduced) CHECK(each == 0.5f);
}

}  // namespace writing_an_adapter_md::gradients_where_the_replica_wants_them
