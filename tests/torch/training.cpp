// Modules trained by replicas: gradients, parameters, buffers, optimizers; where gradients lie.
#include "modules.hpp"

namespace {

using namespace modules;
using model_type = torch_model<float>;
using small = buckets<100, 100>;
using replicated = data_parallel<model_type, distributed<direct, small>>;

/// What one module is trained to that sees all ranks' data.
std::vector<float> trained_alone(int ranks, int steps) {
  gated net;
  torch::optim::SGD optimizer{net.parameters(), torch::optim::SGDOptions{0.1}.momentum(0.9)};
  for (int step = 0; step < steps; ++step) {
    optimizer.zero_grad();
    torch::Tensor sum = torch::zeros({});
    for (int rank = 0; rank < ranks; ++rank) sum = sum + loss_of(net, rank, step);
    (sum / ranks).backward();
    optimizer.step();
  }
  return values_of(net);
}
bool are_near(const std::vector<float>& a, const std::vector<float>& b, float distance) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= distance)) return false;
  return true;
}

/// What ranks train a module to, all the same.
template <class Strategy, class Optimizer, class Options>
std::vector<float> trained(int ranks, int steps, Options how, overlap by, bool undefined) {
  std::vector<std::vector<float>> found(static_cast<std::size_t>(ranks));
  check_returned(run_threads(ranks, [&](auto& world) {
    gated net;
    if (world.rank() > 0) fill(net, 7);  // rank 0's it will be
    torch_model model{net};
    data_parallel<model_type, Strategy> replica{model, world, {.overlap = by}};
    Optimizer optimizer{net.parameters(), how};
    for (int step = 0; step < steps; ++step) {
      net.zero_grad(undefined);
      model.backward(replica, loss_of(net, world.rank(), step));
      replica.step([&] { optimizer.step(); });
    }
    found[static_cast<std::size_t>(world.rank())] = values_of(net);
  }));
  for (const auto& each : found) CHECK(each == found[0]);
  return found[0];
}

}  // namespace

TEST_CASE("ranks train a module to what one trains it to that has all of their data") {
  const auto how = torch::optim::SGDOptions{0.1}.momentum(0.9);
  for (const int ranks : {1, 2, 3, 4}) {
    CAPTURE(ranks);
    const std::vector<float> alone = trained_alone(ranks, 10);
    for (const overlap by : {overlap::none, overlap::by_thread})
      for (const bool undefined : {false, true}) {
        CHECK(are_near(
            alone,
            trained<distributed<direct, small>, torch::optim::SGD>(ranks, 10, how, by, undefined),
            1e-5f));
        CHECK(are_near(alone,
                       trained<distributed<ring>, torch::optim::SGD>(ranks, 10, how, by, undefined),
                       1e-5f));
      }
  }
}

TEST_CASE("LibTorch's optimizers come to the same bits under DP and DDP") {
  const auto both = [](auto optimizer, auto how) {
    using type = typename decltype(optimizer)::type;
    const auto dp = trained<primary_device<>, type>(3, 6, how, overlap::none, false);
    CHECK(dp == trained<distributed<direct, small>, type>(3, 6, how, overlap::by_thread, true));
  };
  both(std::type_identity<torch::optim::SGD>{}, torch::optim::SGDOptions{0.1}.momentum(0.9));
  both(std::type_identity<torch::optim::AdamW>{}, torch::optim::AdamWOptions{0.01});
  both(std::type_identity<torch::optim::RMSprop>{}, torch::optim::RMSpropOptions{0.01});
}

TEST_CASE("gradients lie in the replica's memory, whatever becomes of them in between") {
  check_returned(run_threads(2, [](auto& world) {
    gated net;
    torch_model model{net};
    replicated replica{model, world};
    torch::optim::SGD optimizer{net.parameters(), 0.1};
    expect(replica.collectives_per_step() == replica.buckets().size(), "not side by side");
    const auto in_place = [&] {
      const auto parameters = net.parameters();
      for (std::size_t i = 0; i < parameters.size(); ++i)
        if (parameters[i].grad().data_ptr() != replica.gradients()[i].data()) return false;
      return parameters.size() == 5;
    };
    for (const bool undefined : {true, true, false, false, true}) {
      net.zero_grad(undefined);
      expect(net.gate.grad().defined() != undefined, "zero_grad has done something else");
      model.backward(replica, loss_of(net, world.rank(), 0));
      expect(in_place(), "after a pass");
    }
    net.gate.mutable_grad() = torch::ones({3});  // somebody's own
    model.backward(replica, loss_of(net, world.rank(), 0));
    expect(in_place(), "after another gradient");
    // A gradient that can be differentiated is a new tensor of autograd's.
    replica.backward([&](auto&& ready) {
      model.backward(
          [&] { loss_of(net, world.rank(), 0).backward({}, /*retain_graph=*/true, true); }, ready);
    });
    expect(in_place(), "after a pass that can be differentiated");
  }));
}

TEST_CASE("gradients are the module's for longer than the replica, and go on in the next one") {
  check_returned(run_threads(2, [](auto& world) {
    gated net;
    {
      torch_model model{net};
      replicated replica{model, world};
      model.backward(replica, loss_of(net, world.rank(), 0));
    }
    const torch::Tensor before = net.gate.grad().clone();
    expect(before.abs().sum().item<float>() > 0, "no gradient");
    loss_of(net, world.rank(), 0).backward();  // no hook of the old model's is left
    net.gate.mutable_grad() = before;
    torch_model model{net};
    replicated replica{model, world};
    expect(net.gate.grad().equal(before), "the next replica has dropped a gradient");
    net.zero_grad(false);
    model.backward(replica, loss_of(net, world.rank(), 0));
    expect(net.gate.grad().equal(before), "another gradient than before");
  }));
}

TEST_CASE("gradients come together under no_sync, by a replica's passes and by plain ones") {
  check_returned(run_threads(2, [](auto& world) {
    // The gate is used in the first of three passes only.
    const auto run = [&](int how) {
      gated net;
      torch_model model{net};
      replicated replica{model, world, {.unused = unused::zero}};
      net.zero_grad(true);
      if (how > 0) {
        const auto guard = replica.no_sync();
        if (how == 1)
          model.backward(replica, loss_of(net, world.rank(), 0));
        else
          loss_of(net, world.rank(), 0).backward();
        model.backward(replica, loss_of(net, world.rank(), 1, false));
      } else {
        // Both in one pass: each gradient is added to once.
        const torch::Tensor both = loss_of(net, world.rank(), 0) +
                                   loss_of(net, world.rank(), 1, false) +
                                   loss_of(net, world.rank(), 2, false);
        model.backward(replica, both);
        return net.gate.grad().clone();
      }
      const torch::Tensor own = net.gate.grad().clone();
      model.backward(replica, loss_of(net, world.rank(), 2, false));
      expect(!net.gate.grad().equal(own), "nothing was reduced");
      return net.gate.grad().clone();
    };
    const torch::Tensor in_one = run(0);
    expect(run(1).allclose(in_one), "passes without sync");
    expect(run(2).allclose(in_one), "plain passes");
  }));
}

TEST_CASE("running statistics are rank 0's at each forward pass") {
  check_returned(run_threads(3, [](auto& world) {
    torch::nn::Sequential net{torch::nn::Linear{4, 3}, torch::nn::BatchNorm1d{3}};
    fill(*net, world.rank());
    torch_model model{net};
    data_parallel<model_type, distributed<>> replica{model, world};
    const auto statistics = [&] {
      std::vector<float> all;
      for (const torch::Tensor& each : net->buffers())
        all.push_back(each.to(torch::kFloat).sum().template item<float>());
      return all;
    };
    for (int step = 0; step < 3; ++step) {
      std::vector<float> at_forward;
      const torch::Tensor y = replica.forward([&] {
        at_forward = statistics();
        return net->forward(inputs(world.rank(), step));
      });
      std::vector<float> rank_0s = at_forward;
      broadcast(world, rank_0s, 0);
      expect(at_forward == rank_0s && at_forward.size() == 3, "not rank 0's");
      expect(at_forward[2] == static_cast<float>(step), "not all batches are counted");
      expect(world.rank() == 0 || statistics() != rank_0s, "nothing changes them");
      model.backward(replica, torch::mse_loss(y, targets(world.rank(), step)));
    }
  }));
}
