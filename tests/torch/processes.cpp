// Ranks that are processes train modules to what PyTorch's DistributedDataParallel did. LibTorch
// has started no threads yet when they are forked.
#include <allfold/launch/spawn_processes.hpp>

#include "ddp.hpp"

namespace {

using namespace modules;

}  // namespace

TEST_CASE("ranks that are processes train modules to what PyTorch's DDP trains them to") {
  for (const ddp_golden::outcome& golden : ddp_golden::outcomes)
    for (const overlap how : {overlap::none, overlap::by_thread}) {
      const std::string name = golden.name;
      CAPTURE(name);
      CAPTURE(golden.ranks);
      const auto train = [&](auto& world) {
        train_as<distributed<direct, buckets<64, 128>>>(world, golden, how);
      };
      CHECK_NOTHROW(spawn_processes(golden.ranks, train, {.timeout = std::chrono::seconds{60}}));
    }
}

TEST_CASE("gradients of processes lie in memory that they share") {
  const auto pass = [](auto& world) {
    torch::set_num_threads(1);
    gated net;
    torch_model model{net};
    data_parallel<torch_model<float>, distributed<direct>> replica{model, world};
    model.backward(replica, loss_of(net, world.rank(), 0));
    expect(net.gate.grad().data_ptr() == replica.gradients()[0].data(), "elsewhere");
    expect(replica.collectives_per_step() == 1, "in pieces");
    expect(replica.memory().of_replica == replica.memory().gradients, "not in the arena");
  };
  CHECK_NOTHROW(spawn_processes(2, pass, {.timeout = std::chrono::seconds{60}}));
}
