// Ranks that run out of inputs at different times.
#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <stdexcept>

namespace {

using namespace outcomes;
using namespace allfold;
using arrays = models::arrays<float>;
using tiny = buckets<100, 200>;

/// Gradient descent with momentum: its state must stay equal too.
struct momentum {
  std::vector<std::vector<float>> speed;
  void operator()(std::size_t i, std::span<float> parameter, std::span<const float> gradient) {
    if (speed.size() <= i) speed.resize(i + 1);
    speed[i].resize(parameter.size());
    for (std::size_t k = 0; k < parameter.size(); ++k) {
      speed[i][k] = 0.5f * speed[i][k] + gradient[k];
      parameter[k] -= speed[i][k];
    }
  }
};

/// The gradient of a rank's pass; sums of these are exact.
float slope(int rank, int pass) { return static_cast<float>(1 + rank + 4 * pass); }

/// What one process would do: the parameter after each pass.
float expected(const std::vector<int>& passes, divide_by how, bool is_sum) {
  float parameter = 0, speed = 0;
  const int most = *std::max_element(passes.begin(), passes.end());
  for (int pass = 0; pass < most; ++pass) {
    float total = 0;
    int live = 0;
    for (int rank = 0; rank < static_cast<int>(passes.size()); ++rank)
      if (pass < passes[at(rank)]) {
        total += slope(rank, pass);
        ++live;
      }
    const auto ranks = static_cast<float>(passes.size());
    if (!is_sum) total /= how == divide_by::live_ranks ? static_cast<float>(live) : ranks;
    speed = 0.5f * speed + total;
    parameter -= speed;
  }
  return parameter;
}

const std::vector<std::vector<int>> uneven{{3},       {2, 2},    {5, 1},       {0, 4},
                                           {3, 1, 2}, {0, 0, 3}, {4, 2, 0, 3}, {1, 5, 2, 5, 0}};

}  // namespace

TEST_CASE_TEMPLATE("ranks without inputs shadow the others and take their steps", strategy,
                   distributed<direct, tiny>, distributed<ring, tiny>, distributed<tree, tiny>,
                   distributed<halving_doubling, tiny>, primary_device<0, tiny>) {
  for (const auto& passes : uneven)
    for (const divide_by divides : {divide_by::initial_ranks, divide_by::live_ranks})
      for (const overlap how : {overlap::none, overlap::by_thread})
        for (const scale scales : {scale::mean_over_ranks, scale::sum}) {
          const float wanted = expected(passes, divides, scales == scale::sum);
          const auto all = run_ranks(static_cast<int>(passes.size()), [&](auto& world) {
            arrays model{{40, 9, 30}};
            momentum optimizer;
            data_parallel<arrays, strategy> replica{
                model, world, {.scale = scales, .overlap = how}};
            auto joined = replica.join({.divide_by = divides});
            for (int pass = 0; pass < passes[at(world.rank())]; ++pass) {
              replica.backward([&](auto&& ready) {
                for (std::size_t i = 3; i > 0; --i) {
                  std::fill(model.slopes[i - 1].begin(), model.slopes[i - 1].end(),
                            slope(world.rank(), pass));
                  ready(i - 1);
                }
              });
              replica.step(optimizer);
            }
            joined.finish(optimizer);
            for (const auto& each : model.values)
              for (const float value : each)
                if (std::abs(value - wanted) > 1e-3f * std::abs(wanted) + 1e-4f)
                  throw std::logic_error{std::to_string(value) + " and not " +
                                         std::to_string(wanted)};
          });
          for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
        }
}

TEST_CASE("without the optimizer, the model of the last one wins") {
  const auto all = run_ranks(3, [](auto& world) {
    arrays model{{40}};
    data_parallel<arrays, distributed<>> replica{model, world};
    auto joined = replica.join();
    for (int pass = 0; pass <= world.rank(); ++pass) {
      replica.backward([&](auto&& ready) {
        model.slopes[0].assign(40, 3.0f);
        ready(0);
      });
      replica.step([&] {
        for (float& each : model.values[0]) each += 10 + model.slopes[0][0];
      });
      model.statistics.assign(3, world.rank());
    }
    joined.finish();
    if (model.values[0] != std::vector<float>(40, 13.0f + 12 + 11))
      throw std::logic_error{"other parameters"};
    if (model.statistics != std::vector<double>(3, 2.0)) throw std::logic_error{"other buffers"};
    if (replica.steps() != 3) throw std::logic_error{"another number of steps"};
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("the buffers of a live rank are everybody's") {
  const auto all = run_ranks(3, [](auto& world) {
    arrays model{{4}};
    data_parallel<arrays, distributed<>> replica{model, world};
    auto joined = replica.join();
    for (int pass = 0; pass < (world.rank() == 0 ? 1 : 3); ++pass) {
      replica.backward([&](auto&& ready) {
        model.statistics.assign(3, 10.0 * pass + world.rank());
        ready(0);
      });
      replica.step([] {});
    }
    joined.finish([] {});
    // In the third pass what rank 1 had after the second was sent to all; then 1 and 2 went on.
    if (model.statistics[0] != (world.rank() == 0 ? 11.0 : 20.0 + world.rank()))
      throw std::logic_error{std::to_string(model.statistics[0])};
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("accumulation and unused parameters go with it") {
  for (const unused policy : {unused::error, unused::zero, unused::keep}) {
    const auto all = run_ranks(3, [&](auto& world) {
      arrays model{{40, 10}};
      data_parallel<arrays, distributed<>> replica{model, world, {.unused = policy}};
      auto joined = replica.join({.divide_by = divide_by::live_ranks});
      for (int pass = 0; pass < 2 * world.rank(); ++pass) {
        const auto pass_on = [&] {
          replica.backward([&](auto&& ready) {
            for (auto& each : model.slopes)
              for (float& value : each) value += static_cast<float>(world.rank());
            ready(0);
            if (policy != unused::keep) ready(1);
          });
        };
        for (auto& each : model.slopes) std::fill(each.begin(), each.end(), 0.0f);
        {
          const auto guard = replica.no_sync();
          pass_on();
        }
        pass_on();
        const float mean = pass < 2 ? 3.0f : 4.0f;  // twice the mean of 1 and 2, or of 2 alone
        if (model.slopes[0] != std::vector<float>(40, mean)) throw std::logic_error{"a wrong mean"};
        replica.step([] {});
      }
      joined.finish([] {});
    });
    for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  }
}

TEST_CASE("all can be told as soon as one is through") {
  for (int size = 2; size <= 4; ++size)
    for (int odd = 0; odd < size; ++odd) {
      const auto all = run_ranks(size, [&](auto& world) {
        arrays model{{40}};
        data_parallel<arrays, distributed<>> replica{model, world};
        auto joined = replica.join({.throw_early = true});
        for (int pass = 0; pass < (world.rank() == odd ? 2 : 3); ++pass) {
          replica.backward([](auto&& ready) { ready(0); });
          replica.step([] {});
        }
        joined.finish([] {});
      });
      for (const outcome& each : all) {
        CHECK_MESSAGE(each.how == ending::usage, each.text);
        CHECK_MESSAGE(each.says("rank " + std::to_string(odd) + " has no inputs any more"),
                      each.text);
        CHECK_MESSAGE(each.says("join.cpp:"), each.text);
      }
    }
  const auto even = run_ranks(3, [](auto& world) {
    arrays model{{40}};
    data_parallel<arrays, distributed<>> replica{model, world};
    auto joined = replica.join({.throw_early = true});
    replica.backward([](auto&& ready) { ready(0); });
    replica.step([] {});
    joined.finish();
  });
  for (const outcome& each : even) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("a join within a join is refused") {
  for (const outcome& each : run_ranks(2, [](auto& world) {
         arrays model{{4}};
         data_parallel<arrays, distributed<>> replica{model, world};
         auto outer = replica.join();
         auto inner = replica.join();
       }))
    CHECK_MESSAGE(each.says("a join was begun within another"), each.text);
}
