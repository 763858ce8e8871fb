// Modules on a GPU, trained by ranks over NCCL.
#include "torch/gpu/training.hpp"

#include <allfold/communicator/nccl.hpp>

#include <cstdlib>

namespace {

using namespace gpu_modules;

/// Several ranks on one GPU need NCCL 2.30 and its leave.
int most_ranks() {
  int version = 0;
  ncclGetVersion(&version);
  const char* const leave = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  return version >= NCCL_VERSION(2, 30, 0) && leave != nullptr && std::string{leave} == "1" ? 4 : 1;
}
template <class Body>
void run(int ranks, Body body) {
  spawn(ranks, [&](threads::communicator& threads) {
    const allfold::cuda::device_scope current{0};
    allfold::nccl::communicator world{std::move(threads), 0};
    body(world);
    world.synchronize();
  });
}

}  // namespace

TEST_CASE("ranks over NCCL train a module to what one trains it to that has all of their data") {
  for (int ranks = 1; ranks <= most_ranks(); ++ranks)
    for (const overlap how : {overlap::none, overlap::by_thread}) {
      CAPTURE(ranks);
      const auto on_ranks = [](int count, auto body) { run(count, body); };
      check_training<distributed<native, small>>(ranks, how, on_ranks);
    }
}

TEST_CASE("ranks over NCCL refuse a module that is not on their GPU") {
  run(1, [](auto& world) { check_refusal(world); });
}
