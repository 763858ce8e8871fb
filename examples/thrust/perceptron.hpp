// A model written with Thrust: its tensors are thrust::device_vectors, its arithmetic Thrust's
// algorithms and a library's matrix products. The same source for the GPU and for the processor.
#pragma once

#include <thrust/count.h>
#include <thrust/device_vector.h>
#include <thrust/for_each.h>
#include <thrust/functional.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/tabulate.h>
#include <thrust/transform.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "matrix.hpp"

namespace thrust_example {

/// Images as columns of pixels and their labels, in the memory of Thrust's device system.
struct samples {
  matrix<const float> images;
  const std::uint8_t* labels;
};

// ---- what is done with each element ----

/// y[i] += bias of its row; negative ones become 0 where `rectifies`.
struct add_bias {
  float* y;
  const float* bias;
  int rows;
  bool rectifies;

  ALLFOLD_HOST_DEVICE void operator()(int i) const {
    const float sum = y[i] + bias[i % rows];
    y[i] = rectifies && sum < 0.0f ? 0.0f : sum;
  }
};

/// A sample's loss, and its slope by the logits: (softmax − one hot) / samples.
struct cross_entropy {
  matrix<const float> logits;
  const std::uint8_t* labels;
  float* slopes;
  float* losses;

  ALLFOLD_HOST_DEVICE void operator()(int sample) const {
    const float* const z = logits.data + sample * logits.rows;
    float* const slope = slopes + sample * logits.rows;
    float highest = z[0];  // taken away, so that exp stays finite
    for (int i = 1; i < logits.rows; ++i) highest = z[i] > highest ? z[i] : highest;
    float total = 0.0f;
    for (int i = 0; i < logits.rows; ++i) total += slope[i] = std::exp(z[i] - highest);
    const float each = 1.0f / static_cast<float>(logits.columns);
    for (int i = 0; i < logits.rows; ++i) slope[i] *= each / total;
    slope[labels[sample]] -= each;
    losses[sample] = std::log(total) - (z[labels[sample]] - highest);
  }
};

/// The sum of a row.
struct row_sum {
  matrix<const float> of;

  ALLFOLD_HOST_DEVICE float operator()(int row) const {
    float sum = 0.0f;
    for (int column = 0; column < of.columns; ++column) sum += of.data[column * of.rows + row];
    return sum;
  }
};

/// A slope that a rectifier lets through.
struct rectified_slope {
  ALLFOLD_HOST_DEVICE float operator()(float slope, float output) const {
    return output > 0.0f ? slope : 0.0f;
  }
};

/// True if the largest logit of a sample is its label's.
struct is_right {
  matrix<const float> logits;
  const std::uint8_t* labels;

  ALLFOLD_HOST_DEVICE bool operator()(int sample) const {
    const float* const z = logits.data + sample * logits.rows;
    int best = 0;
    for (int i = 1; i < logits.rows; ++i) best = z[i] > z[best] ? i : best;
    return best == labels[sample];
  }
};

/// Gradient descent with momentum, of element i.
struct descend {
  float *parameters, *velocities;
  const float* gradients;
  float rate, momentum;

  ALLFOLD_HOST_DEVICE void operator()(std::size_t i) const {
    velocities[i] = momentum * velocities[i] + gradients[i];
    parameters[i] -= rate * velocities[i];
  }
};

// ---- the model ----

/// 784-512-256-10 perceptron: ReLU, softmax, cross-entropy. For allfold it is its parameters() and
/// gradients(), of which backward() says which are final; it knows nothing of ranks.
class perceptron {
 public:
  using vector = thrust::device_vector<float>;
  static constexpr std::array<int, 4> widths{28 * 28, 512, 256, 10};
  static constexpr int depth = widths.size() - 1;
  using spans = std::array<decltype(allfold::span_of(std::declval<vector&>())), 2 * depth>;

  /// For batches of up to so many samples.
  perceptron(const engine& on, std::uint64_t seed, int most_samples) : on_{on} {
    std::mt19937_64 random{seed};
    for (int l = 0; l < depth; ++l) {
      weights(l) = he_normal(widths[l], widths[l + 1], random);
      biases(l).resize(static_cast<std::size_t>(widths[l + 1]));
      outputs_[l].resize(static_cast<std::size_t>(widths[l + 1] * most_samples));
      errors_[l].resize(outputs_[l].size());
    }
    for (std::size_t i = 0; i < values_.size(); ++i) slopes_[i].resize(values_[i].size());
  }

  /// Weights and biases of the first layer, then of the second, …
  spans parameters() { return spans_of(values_); }
  spans gradients() { return spans_of(slopes_); }

  /// Leaves the mean gradient of the samples in gradients(), and each one's loss in `losses`. Calls
  /// ready(i) as soon as all that makes gradient i has been given to the engine.
  template <class Ready>
  void backward(const samples& batch, float* losses, Ready&& ready) {
    forward(batch.images);
    const int count = batch.images.columns;
    const auto sample = thrust::make_counting_iterator(0);
    thrust::for_each_n(
        on_.policy(), sample, count,
        cross_entropy{output(depth - 1, count), batch.labels, raw(errors_[depth - 1]), losses});
    for (int l = depth - 1; l >= 0; --l) {
      const matrix<const float> error{raw(errors_[l]), widths[l + 1], count};
      thrust::tabulate(on_.policy(), slope(2 * l + 1).begin(), slope(2 * l + 1).end(),
                       row_sum{error});
      ready(static_cast<std::size_t>(2 * l + 1));
      on_.multiply(error, as::it_is, l == 0 ? batch.images : output(l - 1, count), as::transposed,
                   {raw(slope(2 * l)), widths[l + 1], widths[l]});
      ready(static_cast<std::size_t>(2 * l));
      if (l > 0) pass_error_below(l, error);
    }
  }

  /// How many samples the model gets right. Waits for the engine.
  std::size_t count_right(const samples& batch) {
    forward(batch.images);
    const auto sample = thrust::make_counting_iterator(0);
    return static_cast<std::size_t>(
        thrust::count_if(on_.policy(), sample, sample + batch.images.columns,
                         is_right{output(depth - 1, batch.images.columns), batch.labels}));
  }

 private:
  using tensors = std::array<vector, 2 * depth>;

  static float* raw(vector& of) { return thrust::raw_pointer_cast(of.data()); }
  vector& weights(int layer) { return values_[static_cast<std::size_t>(2 * layer)]; }
  vector& biases(int layer) { return values_[static_cast<std::size_t>(2 * layer + 1)]; }
  vector& slope(int i) { return slopes_[static_cast<std::size_t>(i)]; }
  matrix<const float> output(int layer, int samples) {
    return {raw(outputs_[layer]), widths[layer + 1], samples};
  }

  static spans spans_of(tensors& all) {
    spans made;
    for (std::size_t i = 0; i < all.size(); ++i) made[i] = allfold::span_of(all[i]);
    return made;
  }
  /// He et al. 2015, for ReLU.
  static vector he_normal(int inputs, int outputs, std::mt19937_64& random) {
    std::normal_distribution<float> normal{0.0f, std::sqrt(2.0f / static_cast<float>(inputs))};
    std::vector<float> values(static_cast<std::size_t>(inputs * outputs));
    for (float& each : values) each = normal(random);
    return {values.begin(), values.end()};
  }

  void forward(matrix<const float> images) {
    const int count = images.columns;
    for (int l = 0; l < depth; ++l) {
      const int rows = widths[l + 1];
      float* const y = raw(outputs_[l]);
      on_.multiply({raw(weights(l)), rows, widths[l]}, as::it_is,
                   l == 0 ? images : output(l - 1, count), as::it_is, {y, rows, count});
      thrust::for_each_n(on_.policy(), thrust::make_counting_iterator(0), rows * count,
                         add_bias{y, raw(biases(l)), rows, l + 1 < depth});
    }
  }
  void pass_error_below(int layer, matrix<const float> error) {
    const auto below = static_cast<std::size_t>(layer - 1);
    const int rows = widths[layer];
    on_.multiply({raw(weights(layer)), widths[layer + 1], rows}, as::transposed, error, as::it_is,
                 {raw(errors_[below]), rows, error.columns});
    const auto end = errors_[below].begin() + rows * error.columns;
    thrust::transform(on_.policy(), errors_[below].begin(), end, outputs_[below].begin(),
                      errors_[below].begin(), rectified_slope{});
  }

  const engine& on_;
  tensors values_, slopes_;
  std::array<vector, depth> outputs_, errors_;  // of each layer, a column for each sample
};

/// The optimizer of a perceptron. A parameter's velocity comes into being at its first step: a rank
/// that never steps keeps none.
class momentum_descent {
 public:
  float rate = 0.0f;

  momentum_descent(const engine& on, float momentum) : on_{on}, momentum_{momentum} {}

  /// For parameter i of the model: allfold passes the number to an optimizer that takes one.
  template <class Parameter, class Gradient>
  void operator()(std::size_t i, Parameter parameter, Gradient gradient) {
    perceptron::vector& velocity = velocities_.at(i);
    if (velocity.empty()) velocity.resize(parameter.size());
    thrust::for_each_n(on_.policy(), thrust::make_counting_iterator<std::size_t>(0),
                       parameter.size(),
                       descend{parameter.data(), thrust::raw_pointer_cast(velocity.data()),
                               gradient.data(), rate, momentum_});
  }

 private:
  const engine& on_;
  float momentum_;
  std::array<perceptron::vector, 2 * perceptron::depth> velocities_;
};

}  // namespace thrust_example
