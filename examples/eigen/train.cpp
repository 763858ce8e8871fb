// Eigen's matrices as parameters: they need no spans, and nothing is copied.
//
// A perceptron learns sin(x) · cos(y) on two ranks.
#include <Eigen/Core>
#include <allfold/allfold.hpp>

#include <array>
#include <cmath>
#include <cstdio>
#include <span>

static_assert(allfold::contiguous<Eigen::MatrixXf> && allfold::contiguous<Eigen::VectorXf>);

/// Two layers, tanh in between. A sample is a column.
struct perceptron {
  static constexpr Eigen::Index units = 32;
  using matrices = std::array<Eigen::MatrixXf, 4>;  // of each layer the weights, then the bias

  matrices values{Eigen::MatrixXf::Random(units, 2), Eigen::MatrixXf::Zero(units, 1),
                  Eigen::MatrixXf::Random(1, units) / std::sqrt(float{units}),
                  Eigen::MatrixXf::Zero(1, 1)};
  matrices slopes = values;  // of the same shapes

  // All that allfold asks for. By reference: the matrices themselves, not copies of them.
  matrices& parameters() { return values; }
  matrices& gradients() { return slopes; }

  /// Leaves the mean gradient of half the squared error; returns the mean squared error. A matrix
  /// that is assigned one of its own size stays where it is in memory.
  template <class Ready>
  float backward(const Eigen::MatrixXf& in, const Eigen::MatrixXf& wanted, Ready&& ready) {
    const auto& [weights1, bias1, weights2, bias2] = values;
    auto& [slope1, bias_slope1, slope2, bias_slope2] = slopes;
    const Eigen::MatrixXf hidden = ((weights1 * in).colwise() + bias1.col(0)).array().tanh();
    const Eigen::MatrixXf error = ((weights2 * hidden).colwise() + bias2.col(0)) - wanted;
    const Eigen::MatrixXf slope = error / static_cast<float>(in.cols());
    slope2.noalias() = slope * hidden.transpose();
    bias_slope2 = slope.rowwise().sum();
    ready(2, 4);  // these two gradients are final
    const Eigen::MatrixXf below =
        (weights2.transpose() * slope).array() * (1.0f - hidden.array().square());
    slope1.noalias() = below * in.transpose();
    bias_slope1 = below.rowwise().sum();
    ready(0, 2);
    return error.squaredNorm() / static_cast<float>(in.cols());
  }
};
static_assert(allfold::trainable_model<perceptron>);

/// Returns the last epoch's loss.
static float train(auto& world, perceptron& model) {
  allfold::data_parallel<perceptron, allfold::distributed<allfold::direct>> replica{model, world};
  allfold::distributed_sampler sampler{1024, world, {.seed = 1}};
  const Eigen::MatrixXf samples = [] {  // a grid of 32 × 32 points
    Eigen::MatrixXf all(2, 1024);
    for (Eigen::Index i = 0; i < all.cols(); ++i)
      all.col(i) << static_cast<float>(i % 32) / 8.0f - 2.0f,
          static_cast<float>(i / 32) / 8.0f - 2.0f;
    return all;
  }();
  const Eigen::MatrixXf wanted = samples.row(0).array().sin() * samples.row(1).array().cos();

  float loss = 0;
  for (int epoch = 1; epoch <= 100; ++epoch) {
    loss = 0;
    for (const auto batch : sampler.batches(epoch, 32)) {
      replica.backward([&](auto&& ready) {
        loss += model.backward(samples(Eigen::all, batch), wanted(Eigen::all, batch), ready);
      });
      replica.step([](std::span<float> parameter, std::span<const float> gradient) {
        using array = Eigen::ArrayXf;
        const auto size = static_cast<Eigen::Index>(parameter.size());
        array::Map(parameter.data(), size) -= 0.2f * array::Map(gradient.data(), size);
      });
    }
    loss *= 32.0f / static_cast<float>(sampler.size());
    allfold::all_reduce(world, std::span{&loss, 1}, allfold::average{});
    if (world.rank() == 0 && epoch % 10 == 0)
      std::printf("epoch %3d | mean squared error %.6f\n", epoch, loss);
  }
  return loss;
}

int main() {
  std::array<perceptron, 2> models;  // rank 0's parameters are sent to the other
  std::array<float, 2> losses{};
  allfold::spawn(2, [&](auto& world) {
    const auto rank = static_cast<std::size_t>(world.rank());
    losses[rank] = train(world, models[rank]);
  });
  const bool same = models[0].values == models[1].values;
  if (!same) std::puts("the ranks have DIFFERENT parameters");
  return same && losses[0] < 0.01f ? 0 : 1;
}
