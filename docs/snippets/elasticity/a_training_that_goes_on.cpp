#include "elasticity/a_training_that_goes_on.hpp"

#include "support.hpp"

#include <unistd.h>

#include <stdexcept>

namespace elasticity_md::a_training_that_goes_on {

struct optimizer : docs::descend {
  std::vector<float> moments = std::vector<float>(3);
};

/// Rank `lost` is lost in the midst of its fifth backward pass.
struct learner : docs::learner {
  int passes = 0;
  bool lost = false;

  void backward(std::span<const std::size_t> batch, auto&& ready) {
    if (batch.empty()) throw std::logic_error{"an empty batch"};
    if (++passes == 5 && lost) _exit(3);
    docs::learner::backward(9, ready);
  }
};

TEST_CASE("elasticity.md: a training goes on without a rank that is lost") {
  const auto endings = allfold::try_spawn_processes(3, [](allfold::processes::communicator& world) {
    learner model;
    model.lost = world.rank() == 1;
    optimizer its;
    train(world, model, its, 3 * 64 * 10, 3);
    if (world.size() != 2) throw std::logic_error{"ranks"};
    if (model.passes < 10) throw std::logic_error{"it did not go on"};
    std::vector<float> least = model.all(), most = least;
    allfold::all_reduce(world, least, allfold::minimum{});
    allfold::all_reduce(world, most, allfold::maximum{});
    if (least != most) throw std::logic_error{"parameters differ"};
    if (std::abs(least[0] - 9) > 1e-3f) throw std::logic_error{"it did not train"};
  });
  CHECK(endings[0].thrown == "");
  CHECK(endings[2].thrown == "");
  CHECK(endings[0].good());
  CHECK(endings[1].status == 3);
  CHECK(endings[2].good());
}

}  // namespace elasticity_md::a_training_that_goes_on
