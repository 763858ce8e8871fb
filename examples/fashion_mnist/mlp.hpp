#pragma once

#include "dataset.hpp"

#include <Eigen/Core>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace fashion_mnist {

// 784-512-256-10 perceptron: ReLU, softmax, cross-entropy.
//
// It knows nothing of ranks. What allfold asks of a model is parameters() and gradients(), and that
// backward() says which gradient is final.
class mlp {
 public:
  static constexpr std::array<Eigen::Index, 4> widths{pixels, 512, 256, classes};
  static constexpr std::size_t depth = widths.size() - 1;
  using tensors = std::array<std::span<float>, 2 * depth>;

  explicit mlp(std::uint64_t seed);

  // Weights and biases of the first layer, then of the second, ... Each lies in one arena, one
  // tensor behind the other, so nothing has to be copied before it is folded.
  tensors parameters() { return in(values); }
  tensors gradients() { return in(slopes); }

  // Leaves the mean gradient of the batch in gradients() and returns the mean loss. Calls ready(i)
  // as soon as gradient i is final: the last layer first, so that folding can begin early.
  template <class Ready>
  float backward(const batch& batch, Ready&& ready) {
    forward(batch.images);
    const float loss = cross_entropy(batch.labels);
    for (std::size_t layer = depth; layer-- > 0;) {
      const Eigen::MatrixXf& input = layer == 0 ? batch.images : outputs[layer - 1];
      bias_gradient(layer);
      ready(2 * layer + 1);
      weight_gradient(layer, input);
      ready(2 * layer);
      if (layer > 0) pass_error_below(layer);
    }
    return loss;
  }

  std::size_t count_correct(const batch& batch);

 private:
  static tensors in(Eigen::VectorXf& arena);

  void forward(const Eigen::MatrixXf& images);
  float cross_entropy(std::span<const std::uint8_t> labels);
  void bias_gradient(std::size_t layer);
  void weight_gradient(std::size_t layer, const Eigen::MatrixXf& input);
  void pass_error_below(std::size_t layer);

  Eigen::VectorXf values, slopes;                      // the arenas of parameters and gradients
  std::array<Eigen::MatrixXf, depth> outputs, errors;  // of each layer, a column for each sample
};

// How long the columns are in which a tensor of `size` elements lies in memory.
struct mlp_columns {
  static constexpr std::size_t length(std::size_t size) {
    for (std::size_t l = 0; l < mlp::depth; ++l)
      if (size == static_cast<std::size_t>(mlp::widths[l] * mlp::widths[l + 1]))
        return static_cast<std::size_t>(mlp::widths[l + 1]);
    return size;  // biases
  }
};

}  // namespace fashion_mnist
