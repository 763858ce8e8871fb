#include "performance/is_it_communication.hpp"

#include "printed.hpp"
#include "support.hpp"

namespace performance_md::is_it_communication {

TEST_CASE("performance.md: what a step took") {
  const std::string text = docs::printed([] {
    docs::train(2, [](auto& world, auto& model) {
      allfold::data_parallel<docs::learner, allfold::distributed<>> replica{model, world};
      replica.backward([&](auto&& ready) { model.backward(5, ready); });
      replica.step(docs::descend{});
      if (world.rank() == 0) print_step(replica);
    });
  });
  double computation = -1, communication = -1, exposed = -1;
  CHECK(std::sscanf(text.c_str(),
                    "computation %lf, communication %lf, of which nothing hides %lf\n",
                    &computation, &communication, &exposed) == 3);
  CHECK(computation >= 0);
  CHECK(exposed <= communication);
}

}  // namespace performance_md::is_it_communication
