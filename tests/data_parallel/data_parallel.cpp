#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace outcomes;
using allfold::data_parallel;
using allfold::distributed;
using allfold::primary_device;
using arrays = models::arrays<float>;
using world_type = allfold::threads::communicator;

template <class Strategy = distributed<>>
using replica_of = data_parallel<arrays, Strategy>;

/// An engine that says that all gradients are ready.
auto all_ready(const arrays& model) {
  return [&model](auto&& ready) {
    for (std::size_t i = 0; i < model.values.size(); ++i) ready(i);
  };
}

/// For each rank of 2 to 4 as the one that is odd: how every rank ended.
void for_each_odd(const std::function<void(world_type&, int)>& body,
                  const std::function<void(const outcome&, int)>& check) {
  for (int size = 2; size <= 4; ++size)
    for (int odd = 0; odd < size; ++odd)
      for (const outcome& each : run_ranks(size, [&](world_type& world) { body(world, odd); })) {
        CAPTURE(size);
        CAPTURE(odd);
        CAPTURE(each.text);
        check(each, odd);
      }
}

// The engine's model, whose type has no functions of its own.
struct network {
  std::vector<float> weights = std::vector<float>(40), slopes = std::vector<float>(40);
  std::array<std::int64_t, 2> steps{};
};
std::array<std::span<float>, 2> parameters(network& it) {
  return {std::span{it.weights}.first(30), std::span{it.weights}.last(10)};
}
std::array<std::span<float>, 2> gradients(network& it) {
  return {std::span{it.slopes}.first(30), std::span{it.slopes}.last(10)};
}
std::array<std::span<std::int64_t>, 1> buffers(network& it) { return {it.steps}; }

}  // namespace

// ---- making a replica ----

TEST_CASE("parameters and buffers become rank 0's, bit for bit") {
  for (int size = 1; size <= 5; ++size) {
    std::vector<arrays> all(at(size), arrays{{10, 3000, 0, 1}});
    allfold::spawn(size, [&](auto& world) {
      arrays& model = all[at(world.rank())];
      const auto seed = static_cast<unsigned>(100 * world.rank());
      for (std::size_t i = 0; i < model.values.size(); ++i) {
        model.values[i] = models::noise<float>(model.values[i].size(), seed + 1);
        model.slopes[i] = models::noise<float>(model.slopes[i].size(), seed + 2);
      }
      model.statistics = models::noise<double>(3, seed + 3);
      replica_of<> replica{model, world};
      if (&replica.model() != &model || replica.rank() != world.rank() || replica.size() != size)
        throw std::logic_error{"another replica"};
    });
    for (int rank = 0; rank < size; ++rank) {
      const auto seed = static_cast<unsigned>(100 * rank);
      for (std::size_t i = 0; i < all[0].values.size(); ++i) {
        CHECK(models::same_bits(all[at(rank)].values[i],
                                models::noise<float>(all[0].values[i].size(), 1)));
        CHECK(models::same_bits(all[at(rank)].slopes[i],  // which stay each rank's own
                                models::noise<float>(all[0].slopes[i].size(), seed + 2)));
      }
      CHECK(models::same_bits(all[at(rank)].statistics, models::noise<double>(3, 3)));
    }
  }
}

TEST_CASE("rank 0's parameters win under primary_device of another root as well") {
  std::vector<float> first(3);
  allfold::spawn(3, [&](auto& world) {
    arrays model{{5}};
    model.fill(static_cast<float>(world.rank() + 1), 0.0f);
    replica_of<primary_device<2>> replica{model, world};
    first[at(world.rank())] = model.values[0][0];
  });
  CHECK(first == std::vector<float>{1, 1, 1});
}

TEST_CASE("a model of an engine, by free functions") {
  std::vector<network> all(3);
  allfold::spawn(3, [&](auto& world) {
    network& model = all[at(world.rank())];
    model.weights.assign(40, static_cast<float>(world.rank()));
    model.steps = {world.rank() + 5, world.rank()};
    data_parallel<network, distributed<allfold::ring>> replica{model, world};
    replica.backward([&](auto&& ready) {
      model.slopes.assign(40, static_cast<float>(world.rank()));
      ready(0);
      ready(1);
    });
    replica.step([](std::span<float> parameter, std::span<const float> gradient) {
      for (std::size_t i = 0; i < parameter.size(); ++i) parameter[i] -= 2 * gradient[i];
    });
  });
  for (const network& each : all) {
    CHECK(each.weights == std::vector<float>(40, -2.0f));  // 0 − 2 · mean(0, 1, 2)
    CHECK(each.steps == std::array<std::int64_t, 2>{5, 0});
  }
}

TEST_CASE("a model without parameters is no trouble") {
  const auto all = run_ranks(3, [](auto& world) {
    arrays model{{}};
    replica_of<> replica{model, world};
    replica.backward([](auto&&) {});
    replica.step([](std::span<float>, std::span<const float>) { throw std::logic_error{"none"}; });
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("several replicas over one communicator, and over its teams") {
  const auto all = run_ranks(4, [](auto& world) {
    arrays one{{10}}, other{{20}}, third{{5}};
    auto team = world.split(world.rank() % 2);
    replica_of<> first{one, world};
    replica_of<primary_device<>> second{other, world};
    replica_of<distributed<allfold::ring>> within{third, team};
    one.fill(0.0f, static_cast<float>(world.rank()));
    other.fill(0.0f, 1.0f);
    third.fill(0.0f, static_cast<float>(world.rank()));
    first.reduce_gradients();
    within.reduce_gradients();
    second.reduce_gradients();
    if (one.slopes[0][9] != 1.5f) throw std::logic_error{"a wrong mean"};
    if (third.slopes[0][4] != static_cast<float>(world.rank() % 2 + 1))
      throw std::logic_error{"a wrong mean in the team"};
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

// ---- models that do not fit together ----

namespace {

/// The rank itself has found that the models differ, or has heard it from one that has.
bool is_mismatch(const outcome& told) {
  return told.how == ending::mismatch || (told.how == ending::lost && told.says(" threw: "));
}

}  // namespace

TEST_CASE("a parameter of another size is told on every rank, with its name and both sizes") {
  for (std::size_t index = 0; index < 3; ++index)
    for_each_odd(
        [&](world_type& world, int odd) {
          std::vector<std::size_t> sizes{10, 20, 30};
          if (world.rank() == odd) sizes[index] += 7;
          arrays model{sizes};
          replica_of<> replica{model, world};
        },
        [&](const outcome& told, int odd) {
          // Against rank 0: if that is the odd one, rank 1 is the first that differs from it.
          const std::size_t usual = 10 * (index + 1);
          CHECK(is_mismatch(told));
          CHECK(told.says("parameter " + std::to_string(index) + " (layer" + std::to_string(index) +
                          ".weight)"));
          CHECK(told.says(rank_name(odd)));
          CHECK(told.says(std::to_string(usual + 7) + " on " + rank_name(odd)));
          CHECK(told.says(std::to_string(usual) + " on " + rank_name(odd == 0 ? 1 : 0)));
          CHECK(told.says("data_parallel.cpp:"));
        });
}

TEST_CASE("another number of parameters is told on every rank") {
  for_each_odd(
      [](world_type& world, int odd) {
        arrays model{std::vector<std::size_t>(world.rank() == odd ? 4 : 3, 10)};
        replica_of<> replica{model, world};
      },
      [](const outcome& told, int odd) {
        CHECK(is_mismatch(told));
        CHECK(told.says("number of parameters"));
        CHECK(told.says("4 on " + rank_name(odd)));
        CHECK(told.says("3 on "));
      });
}

TEST_CASE("buffers of another size are told on every rank") {
  for_each_odd(
      [](world_type& world, int odd) {
        arrays model{{10}};
        if (world.rank() == odd) model.statistics.resize(5);
        replica_of<> replica{model, world};
      },
      [](const outcome& told, int odd) {
        CHECK(is_mismatch(told));
        CHECK(told.says("buffers"));
        CHECK(told.says("40 on " + rank_name(odd)));
        CHECK(told.says("24 on "));
      });
}

TEST_CASE("a model that contradicts itself is told on every rank") {
  for_each_odd(
      [](world_type& world, int odd) {
        arrays model{{10, 20, 30}};
        if (world.rank() == odd) model.slopes.pop_back();
        replica_of<> replica{model, world};
      },
      [](const outcome& told, int odd) {
        CHECK(told.how == ending::usage);
        CHECK(told.says(rank_name(odd)));
        CHECK(told.says("the model has 3 parameters and 2 gradients"));
        CHECK(told.says("data_parallel.cpp:"));
      });
  for_each_odd(
      [](world_type& world, int odd) {
        arrays model{{10, 20, 30}};
        if (world.rank() == odd) model.slopes[1].resize(19);
        replica_of<> replica{model, world};
      },
      [](const outcome& told, int odd) {
        CHECK(told.how == ending::usage);
        CHECK(told.says(rank_name(odd)));
        CHECK(told.says("parameter 1 (layer1.weight) has 20 elements and its gradient 19"));
      });
}

// ---- backward ----

TEST_CASE("gradients may be ready in any order, another on each rank and in each step") {
  constexpr std::size_t count = 7;
  const auto all = run_ranks(4, [](auto& world) {
    arrays model{std::vector<std::size_t>(count, 50)};
    replica_of<distributed<allfold::ring>> replica{model, world};
    std::mt19937 random{static_cast<unsigned>(world.rank())};
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    for (int step = 0; step < 20; ++step) {
      std::shuffle(order.begin(), order.end(), random);
      replica.backward([&](auto&& ready) {
        for (const std::size_t index : order) {
          model.slopes[index].assign(
              50, static_cast<float>(world.rank() + step) + static_cast<float>(index));
          ready(index);
        }
      });
      for (std::size_t index = 0; index < count; ++index)
        for (const float each : model.slopes[index])
          if (each != 1.5f + static_cast<float>(step) + static_cast<float>(index))
            throw std::logic_error{"a wrong mean"};
    }
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("a gradient that is never ready is named on every rank") {
  for_each_odd(
      [](world_type& world, int odd) {
        arrays model{{10, 20, 30}};
        replica_of<> replica{model, world};
        replica.backward(all_ready(model));  // this time they are
        replica.backward([&](auto&& ready) {
          ready(2);
          ready(0);
          if (world.rank() != odd) ready(1);
        });
        allfold::barrier(world);
      },
      [](const outcome& told, int odd) {
        CHECK(told.how == ending::usage);
        CHECK(told.says(rank_name(odd)));
        CHECK(told.says("parameter 1 (layer1.weight) was never ready"));
        CHECK(told.says("data_parallel.cpp:"));
      });
}

TEST_CASE("a gradient that is ready twice is named on every rank") {
  for_each_odd(
      [](world_type& world, int odd) {
        arrays model{{10, 20, 30}};
        replica_of<primary_device<>> replica{model, world};
        replica.backward([&](auto&& ready) {
          ready(0);
          ready(1);
          if (world.rank() == odd) ready(0);
          ready(2);
        });
        allfold::barrier(world);
      },
      [](const outcome& told, int odd) {
        CHECK(told.how == ending::usage);
        CHECK(told.says(rank_name(odd)));
        CHECK(told.says("parameter 0 (layer0.weight) was ready twice"));
      });
}

TEST_CASE("a gradient that does not exist is named on every rank") {
  for_each_odd(
      [](world_type& world, int odd) {
        arrays model{{10, 20, 30}};
        replica_of<> replica{model, world};
        replica.backward([&](auto&& ready) {
          all_ready(model)(ready);
          if (world.rank() == odd) ready(3);
        });
        allfold::barrier(world);
      },
      [](const outcome& told, int odd) {
        CHECK(told.how == ending::usage);
        CHECK(told.says(rank_name(odd)));
        CHECK(told.says("gradient 3 was said to be ready, but there are 3"));
      });
}

TEST_CASE("what the engine throws is thrown on its rank, and told to the others") {
  for_each_odd(
      [](world_type& world, int odd) {
        arrays model{{10, 2000}};
        replica_of<distributed<allfold::tree>> replica{model, world};
        for (int step = 0; step < 3; ++step) {
          replica.backward([&](auto&& ready) {
            ready(1);
            if (world.rank() == odd && step == 2) throw std::runtime_error{"the loss is no number"};
            ready(0);
          });
          replica.step([] {});
        }
        allfold::barrier(world);
      },
      [](const outcome& told, int odd) {
        if (told.how == ending::other) {
          CHECK(told.text == "the loss is no number");
        } else {
          CHECK(told.how == ending::lost);
          CHECK(told.says(rank_name(odd) + " threw: the loss is no number"));
        }
      });
  CHECK_THROWS_WITH_AS(allfold::spawn(2,
                                      [](auto& world) {
                                        arrays model{{10}};
                                        replica_of<> replica{model, world};
                                        replica.backward([&](auto&& ready) {
                                          if (world.rank() == 1) throw std::range_error{"engine"};
                                          ready(0);
                                        });
                                      }),
                       "engine", std::range_error);
}

TEST_CASE("another line of the caller's than the other ranks' is no mismatch") {
  const auto all = run_ranks(2, [](auto& world) {
    arrays model{{10}};
    replica_of<> replica{model, world};
    if (world.rank() == 0)
      replica.backward(all_ready(model));
    else
      replica.reduce_gradients();
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

// ---- scale ----

namespace {

/// The gradient 1, 2, 4 … of ranks that had `samples` samples each, reduced. By rank.
std::vector<outcome> reduce_samples(const std::vector<std::size_t>& samples,
                                    std::vector<float>& reduced) {
  reduced.assign(samples.size(), 0.0f);
  return run_ranks(static_cast<int>(samples.size()), [&](auto& world) {
    arrays model{{6, 1000}};
    replica_of<> replica{model, world, {.scale = allfold::scale::mean_over_samples}};
    model.fill(0.0f, static_cast<float>(1 << world.rank()));
    replica.backward(all_ready(model), samples[at(world.rank())]);
    reduced[at(world.rank())] = model.slopes[1][999];
  });
}

}  // namespace

TEST_CASE("a mean over samples weighs each rank by its samples") {
  const std::vector<std::vector<std::size_t>> cases{
      {4}, {1, 1}, {8, 8, 8, 8}, {1, 3}, {6, 2, 8}, {0, 5}, {5, 0, 3, 0}, {64, 64, 64, 1}};
  for (const auto& samples : cases) {
    double expected = 0, total = 0;
    for (std::size_t rank = 0; rank < samples.size(); ++rank) {
      expected += static_cast<double>(samples[rank]) * (1 << rank);
      total += static_cast<double>(samples[rank]);
    }
    std::vector<float> reduced;
    for (const outcome& each : reduce_samples(samples, reduced))
      CHECK_MESSAGE(each.how == ending::returned, each.text);
    for (const float each : reduced)
      CHECK(static_cast<double>(each) == doctest::Approx(expected / total).epsilon(1e-6));
  }
}

TEST_CASE("no sample on any rank is told on every rank") {
  for (std::size_t ranks = 1; ranks <= 4; ++ranks) {
    std::vector<float> reduced;
    for (const outcome& each : reduce_samples(std::vector<std::size_t>(ranks, 0), reduced)) {
      CHECK(each.how == ending::usage);
      CHECK(each.says("no rank had a sample"));
      CHECK(each.says("data_parallel.cpp:"));
    }
  }
}

TEST_CASE("the number of samples matters for no other scale") {
  const auto all = run_ranks(3, [](auto& world) {
    arrays model{{6}};
    replica_of<> mean{model, world}, sum{model, world, {.scale = allfold::scale::sum}};
    for (const std::size_t samples : {0u, 1u, 1000u}) {
      model.fill(0.0f, static_cast<float>(world.rank() + 1));
      mean.reduce_gradients(samples * at(world.rank()));
      if (model.slopes[0][5] != 2.0f) throw std::logic_error{"a wrong mean"};
      model.fill(0.0f, static_cast<float>(world.rank() + 1));
      sum.backward(all_ready(model), samples * at(world.rank()));
      if (model.slopes[0][5] != 6.0f) throw std::logic_error{"a wrong sum"};
    }
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

// ---- step ----

TEST_CASE("an optimizer is called in one of three ways") {
  const auto all = run_ranks(2, [](auto& world) {
    arrays model{{3, 4}};
    replica_of<> replica{model, world};
    model.fill(1.0f, 10.0f);

    std::vector<std::size_t> indices;
    replica.step([&](std::size_t index, std::span<float> parameter, std::span<const float> slope) {
      indices.push_back(index);
      if (parameter.data() != model.values[index].data() ||
          slope.data() != model.slopes[index].data() || slope.size() != parameter.size())
        throw std::logic_error{"another parameter"};
      parameter[0] += slope[0];
    });
    if (indices != std::vector<std::size_t>{0, 1}) throw std::logic_error{"another order"};

    int calls = 0;
    replica.step([&](std::span<float> parameter, std::span<const float> slope) {
      ++calls;
      parameter[0] += slope[0];
    });
    if (calls != 2) throw std::logic_error{"not once a parameter"};

    calls = 0;
    replica.step([&] {
      ++calls;
      model.values[1][0] += 100;
    });
    if (calls != 1) throw std::logic_error{"not once"};
    if (model.values[0][0] != 21 || model.values[1][0] != 121 || model.values[0][1] != 1)
      throw std::logic_error{"wrong parameters"};
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("an optimizer may be a const object, or change itself") {
  struct fixed {
    void operator()(std::span<float> parameter, std::span<const float>) const { ++parameter[0]; }
  };
  struct counting {
    int calls = 0;
    void operator()() { ++calls; }
  };
  allfold::spawn(1, [](auto& world) {
    arrays model{{3}};
    replica_of<> replica{model, world};
    const fixed optimizer;
    replica.step(optimizer);
    replica.step(fixed{});
    counting counter;
    replica.step(counter);
    if (model.values[0][0] != 2.0f || counter.calls != 1) throw std::logic_error{"not stepped"};
  });
}

TEST_CASE("under primary_device<root> the root alone steps, and all have its parameters") {
  std::vector<int> calls(4);
  std::vector<std::vector<float>> parameters(4);
  allfold::spawn(4, [&](auto& world) {
    arrays model{{3, 2000}};
    replica_of<primary_device<2>> replica{model, world};
    float state = static_cast<float>(world.rank());  // of an optimizer: only the root's matters
    for (int step = 0; step < 5; ++step) {
      replica.backward([&](auto&& ready) {
        model.fill(model.values[1][0], 1.0f);
        all_ready(model)(ready);
      });
      replica.step([&] {
        ++calls[at(world.rank())];
        state *= 2;
        for (auto& each : model.values)
          for (float& value : each) value += state;
      });
    }
    parameters[at(world.rank())] = model.values[1];
  });
  CHECK(calls == std::vector<int>{0, 0, 5, 0});
  for (const auto& each : parameters)
    CHECK(each == std::vector<float>(2000, 4.0f + 8 + 16 + 32 + 64));
}

TEST_CASE("an optimizer that throws is told to the others") {
  for (int culprit = 0; culprit < 3; ++culprit) {
    const auto all = run_ranks(3, [&](auto& world) {
      arrays model{{10}};
      replica_of<> replica{model, world};
      replica.backward(all_ready(model));
      replica.step([&] {
        if (world.rank() == culprit) throw std::runtime_error{"no state"};
      });
      allfold::barrier(world);
    });
    for (int rank = 0; rank < 3; ++rank)
      CHECK(all[at(rank)].says(rank == culprit ? "no state"
                                               : rank_name(culprit) + " threw: no state"));
  }
}
