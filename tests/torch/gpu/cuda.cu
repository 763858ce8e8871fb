// Modules on a GPU, trained by ranks that are threads: over this library's own kernels.
#include "torch/gpu/training.hpp"

#include "support/cuda.cuh"

namespace {

using namespace gpu_modules;

struct on_one_gpu {
  template <class Body>
  void operator()(int ranks, Body body) const {
    test::run_world(ranks, body);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("ranks train a module to what one trains it to that has all of their data",
                   strategy, distributed<direct, small>, distributed<ring, small>,
                   primary_device<0, small>) {
  for (const int ranks : {1, 2, 3})
    for (const overlap how : {overlap::none, overlap::by_thread}) {
      CAPTURE(ranks);
      check_training<strategy>(ranks, how, on_one_gpu{});
    }
}

TEST_CASE("a module that is not on its rank's GPU is refused") {
  on_one_gpu{}(2, [](auto& world) { check_refusal(world); });
}
