// Trains what PyTorch's DistributedDataParallel was seen to train, by ranks of any kind.
#pragma once

#include "ddp_golden.hpp"
#include "modules.hpp"

#include <algorithm>
#include <string>

namespace modules {

/// Throws, with the place, unless numbers are as PyTorch had them: what is folded in another order
/// differs in the last bits of a float, which training makes more of.
inline void compare(const std::string& what, const std::vector<double>& found,
                    const std::vector<double>& golden) {
  if (found.size() != golden.size())
    throw std::logic_error{what + ": " + std::to_string(found.size()) + " numbers"};
  for (std::size_t i = 0; i < found.size(); ++i)
    if (!(std::abs(found[i] - golden[i]) <= 2e-5 + 1e-4 * std::abs(golden[i])))
      throw std::logic_error{what + " " + std::to_string(i) + ": " + std::to_string(found[i]) +
                             " instead of " + std::to_string(golden[i])};
}
inline std::vector<double> flat(const std::vector<torch::Tensor>& tensors) {
  std::vector<double> all;
  for (const torch::Tensor& each : tensors) {
    const torch::Tensor wide = each.detach().to(torch::kDouble).contiguous();
    all.insert(all.end(), wide.data_ptr<double>(), wide.data_ptr<double>() + wide.numel());
  }
  return all;
}
/// Throws unless all ranks have the same bits.
inline void require_same(auto& world, const std::vector<double>& values) {
  std::vector<double> rank_0s = values;
  broadcast(world, rank_0s, 0);
  expect(values == rank_0s, "the ranks have come to different parameters");
}

template <class Strategy, class Net, class Optimizer, class Loss>
void train(auto& world, Net& net, Optimizer& optimizer, Loss loss,
           const ddp_golden::outcome& golden, overlap how) {
  torch_model model{net};
  const bool leaves_out = golden.name == std::string{"unused"};
  data_parallel<torch_model<float>, Strategy> replica{
      model, world, {.overlap = how, .unused = leaves_out ? unused::keep : unused::error}};
  std::vector<double> losses;
  for (int step = 0; step < ddp_golden::steps; ++step) {
    net.zero_grad(/*set_to_none=*/leaves_out);
    const torch::Tensor value = replica.forward([&] { return loss(net, step); });
    model.backward(replica, value);
    replica.step([&] { optimizer.step(); });
    losses.push_back(value.template item<double>());
  }
  require_same(world, flat(net.parameters()));
  if (world.rank() != 0) return;
  std::vector<torch::Tensor> gradients;
  for (const torch::Tensor& each : net.parameters())
    if (each.grad().defined()) gradients.push_back(each.grad());
  compare("loss", losses, golden.losses);
  compare("parameter", flat(net.parameters()), golden.parameters);
  compare("gradient", flat(gradients), golden.gradients);
  compare("buffer", flat(net.buffers()), golden.buffers);
}

/// Trains one of them. Throws where it comes to something else than PyTorch did.
template <class Strategy>
void train_as(auto& world, const ddp_golden::outcome& golden, overlap how) {
  torch::set_num_threads(1);
  const std::string name = golden.name;
  const auto sgd = torch::optim::SGDOptions{0.1}.momentum(0.9);
  const auto with_gate = [&](int step) {
    return name == "gated" || (world.rank() == 0 && step % 2 == 0);
  };
  if (name == "gated" || name == "unused") {
    gated net;
    torch::optim::SGD optimizer{net.parameters(), sgd};
    const auto loss = [&](gated& it, int step) {
      return loss_of(it, world.rank(), step, with_gate(step));
    };
    return train<Strategy>(world, net, optimizer, loss, golden, how);
  }
  convolutional net;
  const auto loss = [&](convolutional& it, int step) { return loss_of(it, world.rank(), step); };
  if (name == "adamw") {
    torch::optim::AdamW optimizer{net.parameters(), torch::optim::AdamWOptions{0.01}};
    return train<Strategy>(world, net, optimizer, loss, golden, how);
  }
  torch::optim::SGD optimizer{net.parameters(), sgd};
  train<Strategy>(world, net, optimizer, loss, golden, how);
}

}  // namespace modules
