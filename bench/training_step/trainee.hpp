// One rank's model in training: the perceptron, the optimizer and the data of
// examples/fashion_mnist.
#pragma once

#include "dataset.hpp"
#include "measure.hpp"
#include "mlp.hpp"
#include "optimizer.hpp"

#include <algorithm>
#include <allfold/allfold.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace training {

// torch_training.py has the same.
inline constexpr float rate = 0.02f, momentum = 0.9f;
inline constexpr std::uint64_t seed = 1;
inline constexpr std::size_t few_steps = 10;

/// The weights that torch_training.py begins with too, drawn as PyTorch draws them: so that two
/// engines that do the same work can be told by their losses.
inline void draw_parameters(fashion_mnist::mlp& model) {
  using fashion_mnist::mlp;
  allfold::mersenne_twister random{seed};
  const auto all = model.parameters();
  for (std::size_t layer = 0; layer < mlp::depth; ++layer) {
    const float bound = std::sqrt(6.0f / static_cast<float>(mlp::widths[layer]));  // He et al. 2015
    for (float& weight : all[2 * layer]) {
      const auto bits = static_cast<float>(random() & 0xffffffu);
      weight = bits * 0x1p-24f * (2 * bound) - bound;
    }
    std::ranges::fill(all[2 * layer + 1], 0.0f);
  }
}

/// What a rank needs to train, and what came of it. The samples are those of a DistributedSampler.
class trainee {
 public:
  trainee(const fashion_mnist::dataset& data, int rank, int ranks, std::size_t per_batch)
      : data_{data},
        sampler_{data.size(), rank, ranks, {.seed = seed}},
        per_batch_{per_batch},
        batches_{sampler_.batches(0, per_batch, allfold::last_batch::drop)} {
    draw_parameters(model);
  }

  /// Makes sure that so many batches are there: an epoch is shuffled while no clock runs.
  void reserve(std::size_t batches) {
    if (next_ + batches <= batches_.size()) return;
    batches_ = sampler_.batches(++epoch_, per_batch_, allfold::last_batch::drop);
    next_ = 0;
    if (batches > batches_.size())
      throw std::invalid_argument{"an epoch has " + std::to_string(batches_.size()) +
                                  " batches on this rank: too few for one turn"};
  }
  void gather() { data_.gather(batches_[next_++], batch); }

  /// The mean loss of the first few steps, and of the last few.
  double early_loss() const { return mean(std::span{losses}.first(few())); }
  double late_loss() const { return mean(std::span{losses}.last(few())); }

  fashion_mnist::mlp model{seed};
  fashion_mnist::momentum_descent optimizer{rate, momentum, model.parameters().size()};
  fashion_mnist::batch batch;
  std::vector<float> losses;

 private:
  std::size_t few() const { return std::min(few_steps, losses.size()); }
  static double mean(std::span<const float> some) {
    return std::accumulate(some.begin(), some.end(), 0.0) / static_cast<double>(some.size());
  }

  const fashion_mnist::dataset& data_;
  allfold::distributed_sampler sampler_;
  std::size_t per_batch_;
  allfold::sample_batches batches_;
  std::size_t next_ = 0, epoch_ = 0;
};

/// A model that is trained together with the other ranks, and another one that is trained by this
/// rank alone: the same step without what makes the ranks equal.
class contender {
 public:
  contender(const fashion_mnist::dataset& data, const auto& world, std::size_t per_batch)
      : together{data, world.rank(), world.size(), per_batch},
        apart{data, world.rank(), world.size(), per_batch} {}
  virtual ~contender() = default;

  virtual void step_together() = 0;

  void step_apart() {
    apart.gather();
    apart.losses.push_back(apart.model.backward(apart.batch, [](std::size_t) {}));
    const auto parameters = apart.model.parameters(), gradients = apart.model.gradients();
    for (std::size_t i = 0; i < parameters.size(); ++i)
      apart.optimizer(i, parameters[i], gradients[i]);
  }

  trainee together, apart;
};

template <class Strategy>
class contender_by final : public contender {
 public:
  contender_by(const fashion_mnist::dataset& data, auto& world, std::size_t per_batch)
      : contender{data, world, per_batch}, replica_{together.model, world} {}

  void step_together() override {
    together.gather();
    replica_.backward([&](auto&& ready) {
      together.losses.push_back(together.model.backward(together.batch, ready));
    });
    replica_.step(together.optimizer);
  }

 private:
  allfold::data_parallel<fashion_mnist::mlp, Strategy> replica_;
};

}  // namespace training
