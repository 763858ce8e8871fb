#include "observing/a_steps_times.hpp"

#include "support.hpp"

namespace observing_md::a_steps_times {

TEST_CASE("observing.md: a step's times, folded over all ranks") {
  std::string names;
  docs::train(2, [&](auto& world, auto& model) {
    allfold::metrics values;
    if (world.rank() == 0)
      values.to([&](std::int64_t, std::span<const allfold::metric> all) {
        for (const allfold::metric& each : all)
          if (each.value >= 0) names += each.name + "\n";
      });
    allfold::data_parallel<docs::learner, allfold::distributed<>> replica{model, world};
    replica.backward([&](auto&& ready) { model.backward(5, ready); });
    replica.step(docs::descend{});
    note_times(replica, values);
    values.flush(world, 0);
  });
  CHECK(names ==
        "bytes\nms backward\nms communication\nms computation, slowest\nms exposed\nms forward\n"
        "ms step\n");
}

}  // namespace observing_md::a_steps_times
