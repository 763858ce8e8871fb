// Modules on GPUs, trained by ranks of any communicator there.
#pragma once

#include <c10/cuda/CUDAGuard.h>

#include <allfold/adapt/torch_cuda.hpp>

#include "torch/modules.hpp"

#include <algorithm>

namespace gpu_modules {

using namespace modules;
using small = buckets<100, 100>;
constexpr int steps = 10;

/// What one module is trained to, in host memory, that sees all ranks' data.
inline std::vector<float> trained_alone(int ranks) {
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

inline std::vector<float> fetched(const torch::nn::Module& net) {
  std::vector<float> all;
  for (const torch::Tensor& each : net.parameters()) {
    const torch::Tensor here = each.detach().cpu().contiguous();
    all.insert(all.end(), here.data_ptr<float>(), here.data_ptr<float>() + here.numel());
  }
  return all;
}

template <class World>
c10::Device gpu_of(const World& world) {
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(world.gpu())};
}

/// What a rank trains a module to, in a stream of LibTorch's that is the rank's own; halfway it
/// takes another one.
template <class Strategy, class World>
std::vector<float> trained(World& world, overlap how) {
  const c10::Device gpu = gpu_of(world);
  c10::cuda::CUDAStreamGuard own{c10::cuda::getStreamFromPool(false, gpu.index())};
  gated net;
  if (world.rank() > 0) fill(net, 7);  // rank 0's it will be
  net.to(gpu);
  torch_cuda_model<> model{net, world};
  data_parallel<torch_cuda_model<>, Strategy> replica{model, world, {.overlap = how}};
  torch::optim::SGD optimizer{net.parameters(), torch::optim::SGDOptions{0.1}.momentum(0.9)};
  for (int step = 0; step < steps; ++step) {
    if (step == steps / 2) {
      const auto next = c10::cuda::getStreamFromPool(false, gpu.index());
      allfold::cuda::event here;
      here.record(own.current_stream().stream());
      here.hold_back(next.stream());
      own.reset_stream(next);
    }
    net.zero_grad(step % 2 == 0);
    const torch::Tensor y = net.forward(inputs(world.rank(), step).to(gpu), true);
    model.backward(replica, torch::mse_loss(y, targets(world.rank(), step).to(gpu)));
    const auto parameters = net.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i)
      expect(parameters[i].grad().data_ptr() == replica.gradients()[i].data(), "elsewhere");
    replica.step([&] { optimizer.step(); });
  }
  return fetched(net);
}

inline void check_near(const std::vector<float>& found, const std::vector<float>& alone) {
  REQUIRE(found.size() == alone.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    CHECK(found[i] == doctest::Approx(alone[i]).epsilon(1e-3));
}

/// All ranks train to the same, near what one does that has all of their data. `run(ranks, body)`
/// runs body(world) on so many ranks.
template <class Strategy, class Run>
void check_training(int ranks, overlap how, Run run) {
  std::vector<std::vector<float>> found(static_cast<std::size_t>(ranks));
  run(ranks, [&](auto& world) {
    found[static_cast<std::size_t>(world.rank())] = trained<Strategy>(world, how);
  });
  for (const auto& each : found) CHECK(each == found[0]);
  check_near(found[0], trained_alone(ranks));
}

/// Says which tensor is on which device, and which one is the rank's.
template <class World>
void check_refusal(World& world) {
  gated net;
  const auto told = outcomes::attempt([&] { torch_cuda_model<> model{net, world}; });
  expect(told.how == outcomes::ending::usage, "it was taken");
  expect(told.says("is Float on cpu, and this torch_model takes tensors on " + gpu_of(world).str()),
         told.text.c_str());
}

}  // namespace gpu_modules
