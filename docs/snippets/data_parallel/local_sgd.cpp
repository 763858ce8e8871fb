#include "data_parallel/local_sgd.hpp"

#include "support.hpp"

namespace data_parallel_md::local_sgd {

TEST_CASE("data_parallel.md: from step 1000 on an average after every 8 steps") {
  docs::train(2, [](auto& world, auto& model) {
    allfold::data_parallel<docs::learner, strategy> replica{model, world};
    const auto are_equal = [&] {
      float least = model.values[0][0], most = least;
      allfold::all_reduce(world, std::span{&least, 1}, allfold::minimum{});
      allfold::all_reduce(world, std::span{&most, 1}, allfold::maximum{});
      return least == most;
    };
    for (int step = 1; step <= 1008; ++step) {
      replica.backward(
          [&](auto&& ready) { model.backward(static_cast<float>(world.rank()), ready); });
      replica.step(docs::descend{});
      if (step >= 998 && are_equal() != (step <= 1000 || step == 1008))
        throw std::logic_error{"step " + std::to_string(step)};
    }
  });
}

}  // namespace data_parallel_md::local_sgd
