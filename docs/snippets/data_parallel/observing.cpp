#include "data_parallel/observing.hpp"

#include "support.hpp"

namespace data_parallel_md::observing {

TEST_CASE("data_parallel.md: when buckets were reduced") {
  allfold::timeline line{0};
  docs::train(2, [&](auto& world, auto& model) {
    allfold::data_parallel<docs::learner, allfold::distributed<>> replica{model, world};
    replica.backward([&](auto&& ready) { model.backward(5, ready); });
    if (world.rank() == 0) record(replica, line);
    replica.step(docs::descend{});
  });
  CHECK(line.tracks().back() == "communication");
  std::int64_t bytes = 0;
  line.visit([&](const allfold::timeline_span& it) {
    CHECK(it.name == "bucket");
    CHECK(it.begin <= it.end);
    bytes += std::get<std::int64_t>(it.arguments[0].value);
  });
  CHECK(bytes == 7 * sizeof(float));
}

}  // namespace data_parallel_md::observing
