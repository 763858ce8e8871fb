// Gradients are reduced while autograd goes on.
#include "modules.hpp"

#include <thread>

namespace {

using namespace modules;
using model_type = torch_model<float>;
using moment = std::chrono::steady_clock::time_point;

/// A pass whose first layer is reached late by autograd; when it was.
moment slow_pass(auto& replica, model_type& model, torch::nn::Sequential& net, int rank) {
  moment reached;
  const torch::Tensor middle = net->ptr(0)->as<torch::nn::Linear>()->forward(inputs(rank, 0));
  middle.register_hook([&](const torch::Tensor&) {
    std::this_thread::sleep_for(std::chrono::milliseconds{200});
    reached = std::chrono::steady_clock::now();
  });
  const torch::Tensor y = net->ptr(1)->as<torch::nn::Linear>()->forward(torch::tanh(middle));
  model.backward(replica, torch::mse_loss(y, targets(rank, 0)));
  return reached;
}

/// Whether the last layer's gradients were reduced before autograd came to the first layer.
bool is_hidden(overlap how, int rank, auto& world) {
  torch::nn::Sequential net{torch::nn::Linear{4, 5}, torch::nn::Linear{5, 3}};
  torch_model model{net};
  data_parallel<model_type, distributed<direct, buckets<72, 72>>> replica{
      model, world, {.overlap = how}};
  // The last layer: 15 weights and 3 biases.
  expect(replica.buckets().size() == 2, "another plan");
  expect(replica.buckets()[0].members == std::vector<std::size_t>{3, 2}, "another first bucket");
  const moment reached = slow_pass(replica, model, net, rank);
  const std::vector<bucket_times>& times = replica.bucket_timeline();
  expect(times[0].ready < reached, "the hook comes too late");
  expect(times[1].ready >= reached, "the hook comes too early");
  return times[0].end < reached;
}

}  // namespace

TEST_CASE("a bucket is reduced before the backward pass has ended") {
  check_returned(run_threads(2, [](auto& world) {
    expect(is_hidden(overlap::by_thread, world.rank(), world), "reduced afterwards");
    expect(!is_hidden(overlap::none, world.rank(), world), "reduced by whom?");
  }));
}

TEST_CASE("what autograd throws is thrown as it was, and the other ranks hear of it") {
  for (const overlap how : {overlap::none, overlap::by_thread}) {
    const auto all = run_threads(2, [&](auto& world) {
      gated net;
      torch_model model{net};
      data_parallel<model_type, distributed<direct, buckets<1, 1>>> replica{
          model, world, {.overlap = how}};
      const torch::Tensor y = net.forward(inputs(0, 0), true);
      if (world.rank() == 1)
        y.register_hook([](const torch::Tensor&) { throw std::out_of_range{"no such class"}; });
      const auto pass = [&] { model.backward(replica, torch::mse_loss(y, targets(0, 0))); };
      if (world.rank() == 0) return pass();
      try {
        pass();
      } catch (const std::out_of_range&) {
        throw;
      } catch (...) {
        throw std::logic_error{"another exception"};
      }
    });
    CHECK(all[0].how == outcomes::ending::lost);
    CHECK_MESSAGE(all[0].says("no such class"), all[0].text);
    CHECK_MESSAGE(all[1].says("no such class"), all[1].text);
  }
}
