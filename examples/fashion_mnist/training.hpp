#pragma once

#include "contender.hpp"
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
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace fashion_mnist {

// What all ranks of all configurations look at, and none changes.
struct task {
  const settings& chosen;
  const dataset& training;
  const dataset& test;
};

// One rank's part of a training by `Strategy`, with all that it measures.
template <class Strategy>
class participant final : public contender {
 public:
  participant(std::string name, allfold::threads::communicator& world, const task& given)
      : world{world}, given{given} {
    result.name = std::move(name);
    kept_bytes = heap_bytes() - kept_bytes;
  }

  epoch_figures epoch(std::size_t number, progress_bar& progress) override {
    const allfold::distributed_sampler sampler{
        given.training.size(), world, {.seed = given.chosen.seed, .shuffle = true}};
    const auto batches =
        sampler.batches(number, given.chosen.batch / static_cast<std::size_t>(world.size()));
    std::vector<float>& losses = result.losses;
    const std::vector<double>& seconds = result.seconds;
    const std::size_t first = losses.size();
    for (auto samples : batches) {
      // Falls to 0 in a straight line: fast at first, and steady at the end.
      const auto done = static_cast<float>(losses.size()) /
                        static_cast<float>(batches.size() * given.chosen.epochs);
      optimizer.rate = static_cast<float>(given.chosen.rate) * (1.0f - done);
      step(samples);
      if (world.rank() == 0) progress.advance(losses.back());
    }

    const auto recent = std::span{losses}.subspan(first);  // becomes the mean of the ranks
    allfold::all_reduce(world, recent, allfold::average{});
    const double sum = std::accumulate(recent.begin(), recent.end(), 0.0);
    if constexpr (averages_parameters) meet();
    return result.epochs.emplace_back(
        epoch_figures{sum / static_cast<double>(recent.size()), accuracy(),
                      seconds.back() - (first == 0 ? 0.0 : seconds[first - 1])});
  }

  outcome finish() override {
    result.steps = result.losses.size();
    result.step_ms = median(step_ms);
    result.ranks = world.gather(figures());
    return std::move(result);
  }

 private:
  using clock = std::chrono::steady_clock;
  using milliseconds = std::chrono::duration<double, std::milli>;
  using replica_type = allfold::data_parallel<mlp, Strategy>;
  static constexpr bool averages_parameters = replica_type::averages_parameters;

  rank_figures figures() {
    const auto steps = static_cast<double>(result.steps);
    return {.hash = hash(model.parameters()),
            .computation_ms = median(computation_ms),
            .communication_ms = median(communication_ms),
            .bytes_read = static_cast<double>(bytes_read) / steps,
            .bytes_written = static_cast<double>(bytes_written) / steps,
            .bytes_sent = static_cast<double>(bytes_sent()) / steps,
            .parameter_bytes = byte_count(model.parameters()),
            .gradient_bytes = byte_count(model.gradients()),
            .optimizer_bytes = optimizer.bytes(),
            .kept_bytes = static_cast<std::uint64_t>(kept_bytes)};
  }

  // What this rank has brought to collectives in order that all ranks learn alike.
  std::uint64_t bytes_sent() {
    std::uint64_t times = replica.steps();  // that all gradients, or all parameters, were brought
    if constexpr (averages_parameters) {
      const std::uint64_t together = std::min<std::uint64_t>(times, Strategy::average_from);
      times = together + (times - together) / Strategy::average_every + meetings;
    } else if constexpr (!std::is_same_v<typename Strategy::compression, allfold::uncompressed>) {
      return replica.compression().bytes_sent();
    } else if (!Strategy::steps_everywhere && Strategy::steps(world)) {
      times *= 2;  // the gradients, then the parameters
    }
    return times * byte_count(model.gradients());
  }

  // Ranks that go their own ways come to hold the same: it is one model that is tested.
  void meet() {
    for (const auto parameter : model.parameters())
      allfold::all_reduce<allfold::direct>(world, parameter, allfold::average{});
    ++meetings;
  }

  void step(std::span<const std::size_t> samples) {
    const auto moved_before = world.traffic();
    const auto begin = clock::now();
    given.training.gather(samples, current);
    const std::int64_t held_before = heap_bytes();
    float loss = 0.0f;
    replica.backward([&](auto&& ready) { loss = model.backward(current, ready); });
    replica.step(optimizer);
    const milliseconds taken = clock::now() - begin;
    kept_bytes += heap_bytes() - held_before;
    const milliseconds communication = replica.times().exposed;

    std::vector<double>& seconds = result.seconds;
    result.losses.push_back(loss);
    seconds.push_back((seconds.empty() ? 0.0 : seconds.back()) + taken.count() / 1000.0);
    step_ms.push_back(taken.count());
    communication_ms.push_back(communication.count());
    computation_ms.push_back(taken.count() - communication.count());
    bytes_read += world.traffic().bytes_read - moved_before.bytes_read;
    bytes_written += world.traffic().bytes_written - moved_before.bytes_written;
  }

  // The share of the test images that the model gets right; every rank looks at some of them.
  double accuracy() {
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

  allfold::threads::communicator& world;
  const task given;
  outcome result;
  mlp model{given.chosen.seed};
  momentum_descent optimizer{static_cast<float>(given.chosen.rate),
                             static_cast<float>(given.chosen.momentum), model.parameters().size()};
  batch current;
  std::vector<double> step_ms, computation_ms, communication_ms;
  std::uint64_t bytes_read = 0, bytes_written = 0, meetings = 0;
  std::int64_t kept_bytes = heap_bytes();  // until the replica is made: what was held before
  replica_type replica{model, world};
};

}  // namespace fashion_mnist
