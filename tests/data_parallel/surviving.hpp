// A training whose ranks are lost, and what must become of it.
#pragma once

#include <algorithm>
#include <allfold/allfold.hpp>
#include <allfold/data_parallel/batch_cursor.hpp>
#include <array>
#include <cstring>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace surviving {

using allfold::interrupted;

inline constexpr std::size_t samples = 90, per_batch = 4, unknowns = 40;
inline constexpr std::uint64_t epochs = 3;

/// Counts how often each sample is trained on, and does least squares with momentum. All of it is
/// in arrays without pointers, so that it can be copied out of a process.
struct training {
  std::array<float, samples> counts{}, count_slopes{};
  std::array<float, unknowns> values{}, slopes{}, speed{};

  training() { values.fill(0.5f); }

  auto parameters() { return std::array<std::span<float>, 2>{counts, values}; }
  auto gradients() { return std::array<std::span<float>, 2>{count_slopes, slopes}; }

  /// Leaves the sum of the samples' gradients. `between` is called when one is final.
  void backward(std::span<const std::size_t> batch, auto&& ready, auto&& between) {
    count_slopes.fill(0);
    slopes.fill(0);
    for (const std::size_t sample : batch) {
      const auto x = [&](std::size_t i) {
        return static_cast<float>((sample * 31 + i * 17) % 23) / 23.0f - 0.5f;
      };
      float error = -static_cast<float>(sample % 7);
      for (std::size_t i = 0; i < unknowns; ++i) error += x(i) * values[i];
      for (std::size_t i = 0; i < unknowns; ++i) slopes[i] += error * x(i);
      count_slopes[sample] -= 1;
    }
    ready(1);
    between();
    ready(0);
  }
  /// The optimizer: parameter 0 counts, parameter 1 moves.
  void operator()(std::size_t i, std::span<float> parameter, std::span<const float> gradient) {
    for (std::size_t k = 0; k < parameter.size(); ++k) {
      if (i == 0) {
        parameter[k] -= gradient[k];
      } else {
        speed[k] = 0.9f * speed[k] + gradient[k];
        parameter[k] -= 0.003f * speed[k];
      }
    }
  }
  bool same_bits(const training& other) const {
    return std::memcmp(&counts, &other.counts, sizeof counts) == 0 &&
           std::memcmp(&values, &other.values, sizeof values) == 0;
  }
};

/// A step that all have taken: which batch, over how many ranks, and from which state of the
/// optimizer on.
struct taken_step {
  allfold::sampler_position at;
  std::int32_t ranks = 0;
  bool new_optimizer = false;
};

/// A fixed number of things at most, without pointers.
template <class T, std::size_t Most>
struct list {
  std::size_t size = 0;
  T items[Most];
  void add(const T& it) {
    if (size == Most) throw std::logic_error{"too many"};
    items[size++] = it;
  }
  const T* begin() const { return items; }
  const T* end() const { return items + size; }
  void share_state(auto&& share) {
    share(size);
    share(items);
  }
};

/// What a training began with after a failure.
struct beginning {
  training state;
  allfold::sampler_position at;
  std::uint64_t steps = 0;
  int ranks = 0;
};

/// What a rank says in the end.
struct result {
  bool finished = false;
  training state;
  std::uint64_t steps = 0;
  int rank = -1, size = -1, failures = 0, adopted = 0, cut = 0, source = -1;
  list<taken_step, 400> history;
  beginning last;  ///< after the last failure
  char failed[1000]{};
};

/// When something happens to a rank.
enum class moment {
  before_backward,
  in_engine,  ///< after one gradient is ready, before the other is
  after_backward,
  in_optimizer,  ///< after one parameter
  after_step
};
inline constexpr moment all_moments[] = {moment::before_backward, moment::in_engine,
                                         moment::after_backward, moment::in_optimizer,
                                         moment::after_step};

inline allfold::distributed_sampler sampler_for(const auto& world) {
  return {samples, world, {.seed = 3}};
}
inline allfold::data_parallel_options options_of(allfold::overlap overlap) {
  return {.scale = allfold::scale::sum, .overlap = overlap};
}

/// How a training goes about failures.
struct plan {
  interrupted how = interrupted::repeat;
  allfold::overlap overlap = allfold::overlap::none;
  bool new_primary = false;
  bool rebuild = false;  ///< buckets
  allfold::host::shrink_options shrinks{};
};

/// One rank's training to the end, whoever is lost. `happens(moment, step)` may end it.
template <class Strategy, class World, class Happens>
void train(World& world, result& mine, const plan& given, Happens happens) {
  using replica_type = allfold::data_parallel<training, Strategy>;
  training& it = mine.state;
  auto options = options_of(given.overlap);
  options.rebuild_buckets = given.rebuild;
  replica_type replica{it, world, options};
  allfold::batch_cursor cursor{sampler_for(world), per_batch};
  bool failed = false, new_optimizer = false;
  int ranks = world.size();  // of the batch
  const auto recover = [&] {
    world = world.shrink(given.shrinks);
    const auto found = replica.continue_on(world,
                                           [&](auto&& share) {
                                             share(it.speed);
                                             share(cursor);
                                             share(mine.history);
                                             share(ranks);
                                           },
                                           {.new_primary = given.new_primary});
    if (found.cut) mine.history.add({cursor.position(), ranks, false});
    cursor.go_on(world, found, given.how);
    ranks = world.size();
    mine.cut += found.cut;
    mine.source = found.source;
    mine.adopted += found.adopted;
    ++mine.failures;
    mine.last = {it, cursor.position(), replica.steps(), world.size()};
    new_optimizer = given.new_primary;
  };
  for (;;) {
    try {
      if (std::exchange(failed, false)) recover();
      while (cursor.epoch() < epochs) {
        const std::uint64_t step = replica.steps();
        happens(moment::before_backward, step);
        replica.backward([&](auto&& ready) {
          it.backward(cursor.batch(), ready, [&] { happens(moment::in_engine, step); });
        });
        happens(moment::after_backward, step);
        replica.step([&](std::size_t i, auto parameter, auto gradient) {
          it(i, parameter, gradient);
          if (i == 0) happens(moment::in_optimizer, step);
        });
        mine.history.add({cursor.position(), ranks, std::exchange(new_optimizer, false)});
        cursor.advance();
        happens(moment::after_step, step);
      }
      allfold::barrier(world);  // so that a failure in the last step is everybody's
      break;
    } catch (const allfold::error& error) {
      std::snprintf(mine.failed, sizeof mine.failed, "%s", error.what());
      failed = true;
      if (std::string{error.what()}.find("continue_on at") != std::string::npos) throw;
    }
  }
  mine.finished = true;
  mine.steps = replica.steps();
  mine.rank = world.rank();
  mine.size = world.size();
}

/// The same training from a state on, with nothing lost: what must come of it.
template <class Strategy>
training trained_from(const beginning& from, const plan& given) {
  std::vector<training> states(static_cast<std::size_t>(from.ranks), from.state);
  allfold::spawn(from.ranks, [&](auto& world) {
    training& it = states[static_cast<std::size_t>(world.rank())];
    allfold::data_parallel<training, Strategy> replica{it, world, options_of(given.overlap)};
    replica.restore({from.steps, {}});
    allfold::batch_cursor cursor{sampler_for(world), per_batch, from.at};
    for (; cursor.epoch() < epochs; cursor.advance()) {
      replica.backward([&](auto&& ready) { it.backward(cursor.batch(), ready, [] {}); });
      replica.step(it);
    }
  });
  return states[0];
}

/// The steps that were taken once more, by a single thread, which folds in the order of ranks.
inline training trained_serially(const list<taken_step, 400>& history, bool primary) {
  training it;
  for (const taken_step& step : history) {
    if (step.new_optimizer && primary) it.speed.fill(0);
    training all = it, one = it;
    all.count_slopes.fill(0);
    all.slopes.fill(0);
    for (int rank = 0; rank < step.ranks; ++rank) {
      const allfold::distributed_sampler sampler{samples, rank, step.ranks, {.seed = 3}};
      one.backward(
          sampler.batches_from(step.at, per_batch)[0], [](std::size_t) {}, [] {});
      for (std::size_t i = 0; i < samples; ++i) all.count_slopes[i] += one.count_slopes[i];
      for (std::size_t i = 0; i < unknowns; ++i)
        all.slopes[i] = rank == 0 ? one.slopes[i] : all.slopes[i] + one.slopes[i];
    }
    it(0, it.counts, all.count_slopes);
    it(1, it.values, all.slopes);
  }
  return it;
}

/// How often each sample is trained on in these steps.
inline std::vector<float> expected_counts(const list<taken_step, 400>& history) {
  std::vector<float> counts(samples);
  for (const taken_step& step : history)
    for (int rank = 0; rank < step.ranks; ++rank) {
      const allfold::distributed_sampler sampler{samples, rank, step.ranks, {.seed = 3}};
      const allfold::sample_batches batches = sampler.batches_from(step.at, per_batch);
      for (const std::size_t each : batches[0]) ++counts[each];
    }
  return counts;
}

struct one_rank {
  int rank() const { return 0; }
  int size() const { return 1; }
};
/// Where the ranks are after a batch.
inline allfold::sampler_position after(const allfold::sampler_position& at, int ranks) {
  return allfold::distributed_sampler{samples, 0, ranks, {.seed = 3}}.after_batch(at, per_batch);
}

/// What is wrong with the steps' batches: each epoch must be gone through from its beginning to its
/// end, with `drops` gaps in all, each as large as a batch of as many ranks as there were before;
/// `ranks` of them in the beginning.
inline std::string flaw_in(const list<taken_step, 400>& history, int ranks, int drops) {
  allfold::sampler_position expected = sampler_for(one_rank{}).start_of(0);
  int before = ranks;
  for (std::size_t i = 0; i < history.size; ++i) {
    const taken_step& step = history.items[i];
    for (; step.at != expected && step.ranks < before && drops > 0; --drops)
      expected = after(expected, before);
    if (step.at != expected)
      return "step " + std::to_string(i) + " begins after sample " +
             std::to_string(step.at.samples_done) + " of epoch " + std::to_string(step.at.epoch) +
             " and not after " + std::to_string(expected.samples_done) + " of " +
             std::to_string(expected.epoch);
    expected = after(expected, step.ranks);
    before = step.ranks;
  }
  if (expected.epoch < epochs && drops > 0) expected = after(expected, before);
  return expected.epoch == epochs ? "" : "the last epoch is not complete";
}

}  // namespace surviving
