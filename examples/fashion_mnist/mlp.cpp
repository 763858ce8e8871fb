#include "mlp.hpp"

#include <cmath>
#include <random>

namespace fashion_mnist {
namespace {

constexpr Eigen::Index arena_size() {
  Eigen::Index total = 0;
  for (std::size_t l = 0; l < mlp::depth; ++l) total += (mlp::widths[l] + 1) * mlp::widths[l + 1];
  return total;
}

auto weights_of(const mlp::tensors& all, std::size_t layer) {
  return Eigen::MatrixXf::Map(all[2 * layer].data(), mlp::widths[layer + 1], mlp::widths[layer]);
}
auto biases_of(const mlp::tensors& all, std::size_t layer) {
  return Eigen::VectorXf::Map(all[2 * layer + 1].data(), mlp::widths[layer + 1]);
}

}  // namespace

mlp::mlp(std::uint64_t seed)
    : values{Eigen::VectorXf::Zero(arena_size())}, slopes{Eigen::VectorXf::Zero(arena_size())} {
  std::mt19937_64 random{seed};
  for (std::size_t l = 0; l < depth; ++l) {  // He et al. 2015, for ReLU
    std::normal_distribution<float> normal{0.0f, std::sqrt(2.0f / static_cast<float>(widths[l]))};
    const std::span<float> weights = parameters()[2 * l];
    for (float& weight : weights) weight = normal(random);
  }
}

std::size_t mlp::count_correct(const batch& batch) {
  forward(batch.images);
  std::size_t correct = 0;
  for (std::size_t i = 0; i < batch.labels.size(); ++i) {
    Eigen::Index best = 0;
    outputs.back().col(static_cast<Eigen::Index>(i)).maxCoeff(&best);
    correct += best == batch.labels[i];
  }
  return correct;
}

mlp::tensors mlp::in(Eigen::VectorXf& arena) {
  tensors all;
  float* next = arena.data();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Eigen::Index columns = i % 2 == 0 ? widths[i / 2] : 1;
    all[i] = {next, static_cast<std::size_t>(widths[i / 2 + 1] * columns)};
    next += all[i].size();
  }
  return all;
}

void mlp::forward(const Eigen::MatrixXf& images) {
  for (std::size_t l = 0; l < depth; ++l) {
    outputs[l].noalias() = weights_of(parameters(), l) * (l == 0 ? images : outputs[l - 1]);
    outputs[l].colwise() += biases_of(parameters(), l);
    if (l + 1 < depth) outputs[l] = outputs[l].cwiseMax(0.0f);
  }
}

// The mean loss; leaves its slope by the logits, (softmax - one hot) / samples, in errors.back().
float mlp::cross_entropy(std::span<const std::uint8_t> labels) {
  const auto samples = static_cast<float>(labels.size());
  const Eigen::MatrixXf& logits = outputs.back();
  errors.back().resizeLike(logits);
  float loss = 0.0f;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto column = static_cast<Eigen::Index>(i);
    const float highest = logits.col(column).maxCoeff();  // taken away, so that exp stays finite
    auto error = errors.back().col(column);
    error = (logits.col(column).array() - highest).exp();
    const float total = error.sum();
    loss += std::log(total) - (logits(labels[i], column) - highest);
    error /= total * samples;
    error(labels[i]) -= 1.0f / samples;
  }
  return loss / samples;
}

void mlp::bias_gradient(std::size_t layer) {
  biases_of(gradients(), layer) = errors[layer].rowwise().sum();
}

void mlp::weight_gradient(std::size_t layer, const Eigen::MatrixXf& input) {
  weights_of(gradients(), layer).noalias() = errors[layer] * input.transpose();
}

void mlp::pass_error_below(std::size_t layer) {
  errors[layer - 1].noalias() = weights_of(parameters(), layer).transpose() * errors[layer];
  errors[layer - 1].array() *= (outputs[layer - 1].array() > 0.0f).cast<float>();
}

}  // namespace fashion_mnist
