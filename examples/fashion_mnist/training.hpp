#pragma once

#include "dataset.hpp"
#include "heap.hpp"
#include "measure.hpp"
#include "mlp.hpp"
#include "optimizer.hpp"
#include "outcome.hpp"
#include "progress.hpp"
#include "settings.hpp"

#include <allfold/allfold.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace fashion_mnist {

// What all ranks of all configurations look at, and none changes.
struct task {
  const settings& chosen;
  const dataset& training;
  const dataset& test;
};

// One rank's part of a training, with what it keeps from epoch to epoch and what it measures.
class participant {
 public:
  explicit participant(const task& given) : given{given} {}

  // Every rank of `world` calls it.
  template <class Strategy>
  epoch_figures epoch(auto& world, std::size_t number, progress_bar& progress) {
    const std::int64_t held_before = heap_bytes();
    allfold::data_parallel<mlp, Strategy> replica{model, world};
    kept_bytes = heap_bytes() - held_before;

    const allfold::distributed_sampler sampler{
        given.training.size(), world, {.seed = given.chosen.seed, .shuffle = true}};
    const auto batches =
        sampler.batches(number, given.chosen.batch / static_cast<std::size_t>(world.size()));
    const std::size_t first = losses.size();
    for (auto samples : batches) {
      // Falls to 0 in a straight line: fast at first, and steady at the end.
      const auto done = static_cast<float>(losses.size()) /
                        static_cast<float>(batches.size() * given.chosen.epochs);
      optimizer.rate = static_cast<float>(given.chosen.rate) * (1.0f - done);
      step(world, replica, samples);
      if (world.rank() == 0) progress.advance(losses.back());
    }

    const auto recent = std::span{losses}.subspan(first);
    allfold::all_reduce(world, recent, allfold::average{});
    const double sum = std::accumulate(recent.begin(), recent.end(), 0.0);
    return {sum / static_cast<double>(recent.size()), accuracy(world),
            seconds.back() - (first == 0 ? 0.0 : seconds[first - 1])};
  }

  rank_figures figures() {
    const auto steps = static_cast<double>(losses.size());
    return {.hash = hash(model.parameters()),
            .computation_ms = median(computation_ms),
            .communication_ms = median(communication_ms),
            .bytes_read = static_cast<double>(bytes_read) / steps,
            .bytes_written = static_cast<double>(bytes_written) / steps,
            .parameter_bytes = byte_count(model.parameters()),
            .gradient_bytes = byte_count(model.gradients()),
            .optimizer_bytes = optimizer.bytes(),
            .kept_bytes = static_cast<std::uint64_t>(kept_bytes)};
  }

  double median_step_ms() const { return median(step_ms); }

  std::vector<float> losses;    // of each step: after its epoch, the mean of the ranks
  std::vector<double> seconds;  // when each step ended, on a clock that runs during steps only

 private:
  using clock = std::chrono::steady_clock;
  using milliseconds = std::chrono::duration<double, std::milli>;

  void step(auto& world, auto& replica, std::span<const std::size_t> samples) {
    const auto moved_before = world.traffic();
    const auto begin = clock::now();
    given.training.gather(samples, current);
    const std::int64_t held_before = heap_bytes();
    float loss = 0.0f;
    replica.backward([&](auto&& ready) { loss = model.backward(current, ready); });
    replica.step(optimizer);
    const milliseconds taken = clock::now() - begin;
    kept_bytes += heap_bytes() - held_before;
    const milliseconds communication = replica.times().communication;

    losses.push_back(loss);
    seconds.push_back((seconds.empty() ? 0.0 : seconds.back()) + taken.count() / 1000.0);
    step_ms.push_back(taken.count());
    communication_ms.push_back(communication.count());
    computation_ms.push_back(taken.count() - communication.count());
    bytes_read += world.traffic().bytes_read - moved_before.bytes_read;
    bytes_written += world.traffic().bytes_written - moved_before.bytes_written;
  }

  // The share of the test images that the model gets right; every rank looks at some of them.
  double accuracy(auto& world) {
    constexpr std::size_t at_once = 500;
    const auto rank = static_cast<std::size_t>(world.rank());
    const auto size = static_cast<std::size_t>(world.size());
    const std::size_t begin = given.test.size() * rank / size;
    std::vector<std::size_t> mine(given.test.size() * (rank + 1) / size - begin);
    std::iota(mine.begin(), mine.end(), begin);

    std::vector<std::uint64_t> correct{0};
    for (std::span<const std::size_t> rest{mine}; !rest.empty();) {
      const auto now = rest.first(std::min(at_once, rest.size()));
      given.test.gather(now, current);
      correct[0] += model.count_correct(current);
      rest = rest.subspan(now.size());
    }
    allfold::all_reduce(world, correct);
    return static_cast<double>(correct[0]) / static_cast<double>(given.test.size());
  }

  const task given;
  mlp model{given.chosen.seed};
  momentum_descent optimizer{static_cast<float>(given.chosen.rate),
                             static_cast<float>(given.chosen.momentum), model.parameters().size()};
  batch current;
  std::vector<double> step_ms, computation_ms, communication_ms;
  std::uint64_t bytes_read = 0, bytes_written = 0;
  std::int64_t kept_bytes = 0;
};

}  // namespace fashion_mnist
