// A training with any of a replica's features, by replicas; what they come to is compared with
// serial_training.hpp.
#pragma once

#include "models.hpp"

#include <algorithm>
#include <allfold/allfold.hpp>
#include <allfold/data_parallel/gradient_norm.hpp>
#include <allfold/data_parallel/power_sgd.hpp>
#include <allfold/data_parallel/top_k.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace training {

using arrays = models::arrays<float>;

constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// Compressions whose replicas are of one type, so that few templates try them all: the task says
/// which one it is.
struct chosen_compression {
  using all = std::variant<allfold::wire<allfold::bfloat16>,
                           allfold::wire<allfold::half, allfold::error_feedback::on>,
                           allfold::top_k<100>, allfold::top_k<100, allfold::error_feedback::off>,
                           allfold::power_sgd<2, allfold::power_sgd_options{.start_step = 1}>>;
  all it;

  template <class T, class Ranks>
  void combine(std::span<T> gradient, std::size_t index, Ranks& ranks) {
    std::visit([&](auto& one) { one.combine(gradient, index, ranks); }, it);
  }
};

/// What a training does.
struct task {
  std::vector<std::size_t> sizes{37, 1100, 0, 1};  ///< one is in a slot, one is not
  allfold::data_parallel_options options{};
  chosen_compression::all compression{};  ///< of the strategies that compress
  int passes = 1;                         ///< for each step; only the last one is reduced
  bool guards = true;                     ///< by no_sync
  bool skips = false;                     ///< some parameters, in some passes
  bool uneven = false;                    ///< ranks take different numbers of steps
  allfold::join_options join{};
  bool joins = true;         ///< if uneven
  bool shadows_step = true;  ///< ranks that are through take the others' steps
  double largest_norm = std::numeric_limits<double>::infinity();
};

/// A number in [-1, 1), another for other arguments. SplitMix64's finalizer.
inline float noise(std::uint64_t rank, std::uint64_t pass, std::uint64_t tensor,
                   std::uint64_t element) {
  std::uint64_t z = 1 + (((rank << 8 | pass) << 8 | tensor) << 24 | element);
  z *= 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1.0f;
}

/// What a rank computes by itself. Gradients depend on the parameters, and the optimizer keeps
/// something, so that a difference would last.
class engine {
 public:
  engine(const task& what, int rank)
      : model{what.sizes}, what_{what}, rank_{rank}, speed_{model.slopes} {
    for (std::size_t i = 0; i < model.values.size(); ++i)
      for (std::size_t k = 0; k < model.values[i].size(); ++k)
        model.values[i][k] = noise(at(rank), 255, i, k);
  }

  int steps() const { return what_.uneven ? (3 * rank_ + 1) % 5 : 4; }
  /// That the gradient of a step is the mean of.
  std::size_t samples(int step) const { return at(1 + (2 * rank_ + step) % 3); }

  void begin_step() { fresh_.assign(model.slopes.size(), true); }
  /// The first pass of a step to use a gradient sets it, and others add to it.
  template <class Ready>
  void backward(int step, int pass, Ready&& ready) {
    for (std::size_t i = model.slopes.size(); i-- > 0;) {
      if (!uses(step, pass, i)) continue;
      for (std::size_t k = 0; k < model.slopes[i].size(); ++k) {
        const float slope =
            noise(at(rank_), at(what_.passes * step + pass), i, k) + 0.25f * model.values[i][k];
        model.slopes[i][k] = fresh_[i] != 0 ? slope : model.slopes[i][k] + slope;
      }
      fresh_[i] = false;
      ready(i);
    }
  }
  /// Gradient descent with momentum.
  void descend() {
    for (std::size_t i = 0; i < model.values.size(); ++i)
      for (std::size_t k = 0; k < model.values[i].size(); ++k) {
        speed_[i][k] = 0.5f * speed_[i][k] + model.slopes[i][k];
        model.values[i][k] -= 0.125f * speed_[i][k];
      }
  }

  arrays model;

 private:
  /// Nobody uses the first parameter in every second step. Some ranks use the second one, others
  /// not, and not in later passes of a step.
  bool uses(int step, int pass, std::size_t i) const {
    if (!what_.skips || i > 1) return true;
    return i == 0 ? step % 2 == 0 : pass == 0 && (rank_ + step) % 2 == 0;
  }

  const task& what_;
  int rank_;
  std::vector<std::vector<float>> speed_;
  std::vector<char> fresh_;
};

/// What a rank has come to.
struct record {
  std::vector<float> gradients;   ///< those it steps by, in each of its steps
  std::vector<float> parameters;  ///< after each of its steps, and at the end
  std::vector<double> norms;      ///< before gradients were clipped, in each of its steps

  static void note(std::vector<float>& all, const std::vector<std::vector<float>>& tensors) {
    for (const auto& each : tensors) all.insert(all.end(), each.begin(), each.end());
  }
};

/// The largest difference of two ranks' numbers; infinite if they don't have equally many.
inline double distance(const record& a, const record& b) {
  double most = 0;
  for (const auto numbers : {&record::gradients, &record::parameters}) {
    const std::vector<float>&first = a.*numbers, &second = b.*numbers;
    if (first.size() != second.size()) return std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < first.size(); ++i)
      most = std::max(most, static_cast<double>(std::abs(first[i] - second[i])));
  }
  return most;
}

/// One rank's part of a training with replicas.
template <class Strategy, class World>
class trainee {
 public:
  trainee(World& world, const task& what)
      : world_{world},
        what_{what},
        own_{what, world.rank()},
        replica_{own_.model, world, what.options} {
    if constexpr (std::is_same_v<typename Strategy::compression, chosen_compression>)
      replica_.compression().it = what.compression;
  }

  record run() {
    if constexpr (replica::averages_parameters)
      train();
    else if (what_.uneven && what_.joins)
      train_joined();
    else
      train();
    record::note(seen_.parameters, own_.model.values);
    return std::move(seen_);
  }

 private:
  using replica = allfold::data_parallel<arrays, Strategy>;

  void train_joined() {
    auto joined = replica_.join(what_.join);
    train();
    if (what_.shadows_step) {
      joined.finish([&] {
        clip();
        own_.descend();
      });
    } else if constexpr (replica::steps_everywhere) {
      joined.finish();
    }
  }
  void train() {
    for (int step = 0; step < own_.steps(); ++step) {
      own_.begin_step();
      for (int pass = 0; pass < what_.passes; ++pass) backward(step, pass);
      const double norm = clip();
      if (Strategy::steps(world_)) {
        seen_.norms.push_back(norm);
        record::note(seen_.gradients, own_.model.slopes);
      }
      replica_.step([&] { own_.descend(); });
      record::note(seen_.parameters, own_.model.values);
    }
  }
  void backward(int step, int pass) {
    std::optional<decltype(replica_.no_sync())> guard;
    if (what_.guards && pass + 1 < what_.passes) guard.emplace(replica_.no_sync());
    replica_.backward([&](auto&& ready) { own_.backward(step, pass, ready); }, own_.samples(step));
  }
  double clip() { return allfold::clip_gradient_norm(own_.model.gradients(), what_.largest_norm); }

  World& world_;
  const task& what_;
  engine own_;
  replica replica_;
  record seen_;
};

template <class Strategy, class World>
record train(World& world, const task& what) {
  return trainee<Strategy, World>{world, what}.run();
}

}  // namespace training
