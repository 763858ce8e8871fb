// Modules for the tests, their data, and how ranks train them.
#pragma once

#include <torch/nn.h>
#include <torch/optim.h>

#include <allfold/adapt/torch.hpp>
#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

namespace modules {

using namespace allfold;

/// Numbers that differ, the same everywhere.
inline torch::Tensor waves(const std::vector<std::int64_t>& shape, double first, double step) {
  torch::Tensor made = torch::empty(shape);
  float* const values = made.data_ptr<float>();
  for (std::int64_t i = 0; i < made.numel(); ++i)
    values[i] = static_cast<float>(std::cos(first + step * static_cast<double>(i)));
  return made;
}

/// Sets every parameter to numbers that depend on its place in the module and on `seed`.
inline void fill(torch::nn::Module& module, double seed = 0) {
  const torch::NoGradGuard quiet;
  double first = seed;
  for (torch::Tensor& each : module.parameters())
    each.copy_(0.3 * waves(each.sizes().vec(), first += 1, 1.1));
}

/// A perceptron with a gate that not every forward pass uses.
struct gated : torch::nn::Module {
  torch::nn::Linear first{nullptr}, second{nullptr};
  torch::Tensor gate;

  gated() {
    first = register_module("first", torch::nn::Linear(4, 5));
    second = register_module("second", torch::nn::Linear(5, 3));
    gate = register_parameter("gate", torch::zeros({3}));
    fill(*this);
  }
  torch::Tensor forward(const torch::Tensor& x, bool with_gate) {
    const torch::Tensor y = second(torch::tanh(first(x)));
    return with_gate ? y * (1 + gate) : y;
  }
};

/// The batch that a rank has in a step.
inline torch::Tensor inputs(int rank, int step) {
  return waves({6, 4}, 10.0 * rank + 0.1 * step, 0.7);
}
inline torch::Tensor targets(int rank, int step) {
  return waves({6, 3}, 5.0 * rank - 0.2 * step, 0.4);
}
inline torch::Tensor loss_of(gated& net, int rank, int step, bool with_gate = true) {
  return torch::mse_loss(net.forward(inputs(rank, step), with_gate), targets(rank, step));
}

/// A network with running statistics.
struct convolutional : torch::nn::Module {
  torch::nn::Conv2d convolution{nullptr};
  torch::nn::BatchNorm2d norm{nullptr};
  torch::nn::Linear last{nullptr};

  convolutional() {
    convolution = register_module("convolution",
                                  torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 3, 3).bias(false)));
    norm = register_module("norm", torch::nn::BatchNorm2d(3));
    last = register_module("last", torch::nn::Linear(48, 3));
    fill(*this);
  }
  torch::Tensor forward(const torch::Tensor& x) {
    return last(torch::relu(norm(convolution(x))).flatten(1));
  }
};
inline torch::Tensor loss_of(convolutional& net, int rank, int step) {
  std::vector<std::int64_t> classes;
  for (int i = 0; i < 4; ++i) classes.push_back((rank + step + i) % 3);
  return torch::cross_entropy_loss(net.forward(waves({4, 1, 6, 6}, 10.0 * rank + 0.1 * step, 0.7)),
                                   torch::tensor(classes));
}

/// All parameters, one behind the other.
inline std::vector<float> values_of(const torch::nn::Module& module) {
  std::vector<float> all;
  for (const torch::Tensor& each : module.parameters()) {
    const torch::Tensor flat = each.detach().to(torch::kFloat).contiguous();
    all.insert(all.end(), flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel());
  }
  return all;
}

inline void expect(bool holds, const char* what) {
  if (!holds) throw std::logic_error{what};
}

/// Runs ranks as threads, none of which starts more.
template <class Body>
std::vector<outcomes::outcome> run_threads(int ranks, Body body) {
  return outcomes::run_ranks(ranks, [&](auto& world) {
    torch::set_num_threads(1);
    body(world);
  });
}
inline void check_returned(const std::vector<outcomes::outcome>& all) {
  for (const auto& each : all) CHECK_MESSAGE(each.how == outcomes::ending::returned, each.text);
}

}  // namespace modules
