// One model under two strategies. Only a template argument differs.
#include <allfold/allfold.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <span>
#include <vector>

/// y = slope · x + offset, fitted by least squares.
struct line {
  std::array<float, 2> values{}, slopes{};  // the slope and the offset; the gradient of both
  auto parameters() { return std::array{std::span{values}}; }
  auto gradients() { return std::array{std::span{slopes}}; }

  /// The mean gradient over the samples x with y = 3x − 1. ready(i): gradient i is final.
  template <class Ready>
  void backward(std::span<const std::size_t> samples, Ready&& ready) {
    slopes = {};
    for (const std::size_t sample : samples) {
      const float x = static_cast<float>(sample) / 100.0f - 1.0f;
      const float error = values[0] * x + values[1] - (3.0f * x - 1.0f);
      slopes[0] += 2.0f * error * x / static_cast<float>(samples.size());
      slopes[1] += 2.0f * error / static_cast<float>(samples.size());
    }
    ready(0);
  }
};

template <class Strategy>
std::array<float, 2> train(const char* name) {
  constexpr int ranks = 4;
  std::array<float, 2> result{};
  allfold::spawn(ranks, [&](auto& world) {
    line model;
    allfold::data_parallel<line, Strategy> replica{model, world};
    allfold::distributed_sampler sampler{200, world, {.seed = 1}};
    const auto descend = [](std::span<float> parameter, std::span<const float> gradient) {
      for (std::size_t i = 0; i < parameter.size(); ++i) parameter[i] -= 0.1f * gradient[i];
    };
    for (int epoch = 0; epoch < 40; ++epoch)
      for (const auto batch : sampler.batches(epoch, 10)) {
        replica.backward([&](auto&& ready) { model.backward(batch, ready); });
        replica.step(descend);
      }
    if (world.rank() == ranks - 1) result = model.values;  // all ranks hold the same
  });
  std::printf("%-18s y = %.4f x %+.4f\n", name, result[0], result[1]);
  return result;
}

int main() {
  const auto fits = [](const std::array<float, 2>& it) {
    return std::abs(it[0] - 3.0f) < 1e-3f && std::abs(it[1] + 1.0f) < 1e-3f;
  };
  const auto primary = train<allfold::primary_device<>>("primary_device<>");
  const auto ring = train<allfold::distributed<allfold::ring>>("distributed<ring>");
  return fits(primary) && fits(ring) ? 0 : 1;
}
