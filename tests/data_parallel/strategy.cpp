// What a strategy does to gradients and parameters, against serial arithmetic.
#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using namespace outcomes;
using allfold::accumulator;
using allfold::bfloat16;
using allfold::distributed;
using allfold::half;
using allfold::primary_device;
using models::noise;
using models::same_bits;

// One gradient fits a slot, one does not, one is empty, one has a single element.
const std::vector<std::size_t> sizes{37, 2500, 0, 1};

/// The samples of a rank in a step.
std::size_t samples_of(int rank, int step) { return at((3 * rank + step) % 4 * 7 + rank % 2); }

template <class T>
T average_of(const std::vector<T>& terms) {
  accumulator<T> sum = static_cast<accumulator<T>>(terms[0]);
  for (std::size_t i = 1; i < terms.size(); ++i) sum += static_cast<accumulator<T>>(terms[i]);
  return static_cast<T>(sum / static_cast<accumulator<T>>(terms.size()));
}
template <class T>
T sum_of(const std::vector<T>& terms) {
  accumulator<T> sum = static_cast<accumulator<T>>(terms[0]);
  for (std::size_t i = 1; i < terms.size(); ++i) sum += static_cast<accumulator<T>>(terms[i]);
  return static_cast<T>(sum);
}
template <class T>
T weighted(T gradient, std::size_t samples, std::size_t total) {
  const auto weight =
      static_cast<accumulator<T>>(static_cast<double>(samples) / static_cast<double>(total));
  return static_cast<T>(static_cast<accumulator<T>>(gradient) * weight);
}

/// One rank's gradient of one array.
template <class T>
std::vector<T> own_gradient(int rank, std::size_t index, int step) {
  return noise<T>(sizes[index],
                  static_cast<unsigned>(1000 * rank + 10 * step) + static_cast<unsigned>(index));
}

/// What all ranks' gradients of one array come to, folded in rank order.
template <class T>
std::vector<T> expected_gradient(int ranks, std::size_t index, int step, allfold::scale how) {
  std::vector<std::vector<T>> all;
  std::size_t total = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    all.push_back(own_gradient<T>(rank, index, step));
    total += samples_of(rank, step);
  }
  std::vector<T> result(sizes[index]);
  for (std::size_t i = 0; i < result.size(); ++i) {
    std::vector<T> terms;
    for (int rank = 0; rank < ranks; ++rank) {
      const T own = all[at(rank)][i];
      terms.push_back(how == allfold::scale::mean_over_samples
                          ? weighted(own, samples_of(rank, step), total)
                          : own);
    }
    result[i] = how == allfold::scale::mean_over_ranks ? average_of(terms) : sum_of(terms);
  }
  return result;
}

/// In place: a replica keeps to the memory that the model had when it was made.
template <class T>
void fill_gradients(models::arrays<T>& model, int rank, int step) {
  for (std::size_t i = 0; i < sizes.size(); ++i)
    std::ranges::copy(own_gradient<T>(rank, i, step), model.slopes[i].begin());
}

/// Reduces once; each rank's gradients afterwards.
template <class T, class Strategy>
std::vector<std::vector<std::vector<T>>> reduced(int ranks, int step, allfold::scale how) {
  std::vector<std::vector<std::vector<T>>> all(at(ranks));
  allfold::spawn(ranks, [&](auto& world) {
    models::arrays<T> model{sizes};
    allfold::data_parallel<models::arrays<T>, Strategy> replica{model, world, {.scale = how}};
    fill_gradients(model, world.rank(), step);
    replica.reduce_gradients(samples_of(world.rank(), step));
    all[at(world.rank())] = model.slopes;
  });
  return all;
}

/// Same bits as the serial fold in rank order, on every rank that holds the result.
template <class T, class Strategy>
void check_exactly(allfold::scale how, int first_ranks = 1, int only_on = -1) {
  for (int ranks = first_ranks; ranks <= 5; ++ranks) {
    const int step = ranks + 1;  // in which some rank has samples
    const auto all = reduced<T, Strategy>(ranks, step, how);
    for (std::size_t index = 0; index < sizes.size(); ++index) {
      const std::vector<T> expected = expected_gradient<T>(ranks, index, step, how);
      for (int rank = 0; rank < ranks; ++rank)
        if (only_on < 0 || rank == only_on) {
          CAPTURE(ranks);
          CAPTURE(index);
          CHECK(same_bits(all[at(rank)][index], expected));
        }
    }
  }
}

/// The same bits on all ranks, and close to the serial fold.
template <class T, class Strategy>
void check_closely(allfold::scale how, double tolerance, int first_ranks = 1) {
  for (int ranks = first_ranks; ranks <= 5; ++ranks) {
    const int step = ranks + 1;
    const auto all = reduced<T, Strategy>(ranks, step, how);
    for (std::size_t index = 0; index < sizes.size(); ++index) {
      const std::vector<T> expected = expected_gradient<T>(ranks, index, step, how);
      double worst = 0;
      for (std::size_t i = 0; i < expected.size(); ++i)
        worst = std::max(
            worst, std::abs(static_cast<double>(static_cast<accumulator<T>>(all[0][index][i])) -
                            static_cast<double>(static_cast<accumulator<T>>(expected[i]))));
      CAPTURE(ranks);
      CHECK(worst < tolerance);
      for (const auto& each : all) CHECK(same_bits(each[index], all[0][index]));
    }
  }
}

constexpr allfold::scale scales[] = {allfold::scale::mean_over_ranks,
                                     allfold::scale::mean_over_samples, allfold::scale::sum};

/// Gradient descent with momentum, whose state makes every earlier step count.
template <class T>
struct momentum {
  std::vector<std::vector<T>> velocity = std::vector<std::vector<T>>(sizes.size());
  int calls = 0;

  void operator()(std::size_t index, std::span<T> parameter, std::span<const T> gradient) {
    using wide = accumulator<T>;
    ++calls;
    velocity[index].resize(parameter.size());
    for (std::size_t i = 0; i < parameter.size(); ++i) {
      const wide speed = static_cast<wide>(0.9f) * static_cast<wide>(velocity[index][i]) +
                         static_cast<wide>(gradient[i]);
      velocity[index][i] = static_cast<T>(speed);
      parameter[i] =
          static_cast<T>(static_cast<wide>(parameter[i]) -
                         static_cast<wide>(0.1f) * static_cast<wide>(velocity[index][i]));
    }
  }
};

template <class T>
struct trained {
  std::vector<std::vector<std::vector<T>>> parameters;  ///< by rank
  std::vector<int> steps;                               ///< calls of the optimizer, by rank
};

/// Fifty steps. The gradient depends on the parameters, so that a difference would grow.
template <class T, class Strategy>
trained<T> train(int ranks) {
  trained<T> result{std::vector<std::vector<std::vector<T>>>(at(ranks)),
                    std::vector<int>(at(ranks))};
  allfold::spawn(ranks, [&](auto& world) {
    models::arrays<T> model{sizes};
    for (std::size_t i = 0; i < sizes.size(); ++i)
      model.values[i] =
          noise<T>(sizes[i], static_cast<unsigned>(i) + (world.rank() == 0 ? 0u : 77u));
    allfold::data_parallel<models::arrays<T>, Strategy> replica{model, world};
    momentum<T> optimizer;
    for (int step = 0; step < 50; ++step) {
      fill_gradients(model, world.rank(), step);
      replica.backward([&](auto&& ready) {
        for (std::size_t index = sizes.size(); index-- > 0;) {
          for (std::size_t i = 0; i < sizes[index]; ++i)
            model.slopes[index][i] =
                static_cast<T>(static_cast<accumulator<T>>(model.slopes[index][i]) +
                               static_cast<accumulator<T>>(model.values[index][i]));
          ready(index);
        }
      });
      replica.step(optimizer);
    }
    result.parameters[at(world.rank())] = model.values;
    result.steps[at(world.rank())] = optimizer.calls;
  });
  return result;
}

template <class T>
void check_equal(const trained<T>& a, const trained<T>& b) {
  for (const auto* each : {&a, &b})
    for (const auto& replica : each->parameters)
      for (std::size_t i = 0; i < sizes.size(); ++i)
        CHECK(same_bits(replica[i], a.parameters[0][i]));
}

template <class T>
void check_primary_and_direct() {
  for (int ranks = 1; ranks <= 5; ++ranks) {
    CAPTURE(ranks);
    const auto primary = train<T, primary_device<>>(ranks);
    const auto direct = train<T, distributed<allfold::direct>>(ranks);
    check_equal(primary, direct);
    for (int rank = 0; rank < ranks; ++rank) {
      CHECK(primary.steps[at(rank)] == (rank == 0 ? 50 * static_cast<int>(sizes.size()) : 0));
      CHECK(direct.steps[at(rank)] == 50 * static_cast<int>(sizes.size()));
    }
    if (ranks > 2) check_equal(train<T, primary_device<2>>(ranks), direct);
  }
}

}  // namespace

TEST_CASE("distributed<direct> reduces to the bits of the serial fold") {
  for (const allfold::scale how : scales) {
    check_exactly<float, distributed<allfold::direct>>(how);
    check_exactly<double, distributed<allfold::direct>>(how);
    check_exactly<half, distributed<allfold::direct>>(how);
    check_exactly<bfloat16, distributed<allfold::direct>>(how);
    check_exactly<float, distributed<>>(how);
  }
}

TEST_CASE("primary_device reduces to the same bits, on its root") {
  for (const allfold::scale how : scales) {
    check_exactly<float, primary_device<>>(how, 1, 0);
    check_exactly<half, primary_device<>>(how, 1, 0);
    check_exactly<double, primary_device<2>>(how, 3, 2);
    check_exactly<float, distributed<allfold::primary<>>>(how);
    check_exactly<float, distributed<allfold::primary<1>>>(how, 2);
  }
}

TEST_CASE("the other algorithms reduce to nearly the same, and equally on all ranks") {
  for (const allfold::scale how : scales) {
    check_closely<float, distributed<allfold::ring>>(how, 1e-5);
    check_closely<float, distributed<allfold::tree>>(how, 1e-5);
    check_closely<float, distributed<allfold::halving_doubling>>(how, 1e-5);
    check_closely<double, distributed<allfold::ring>>(how, 1e-14);
    check_closely<double, distributed<allfold::tree>>(how, 1e-14);
    check_closely<half, distributed<allfold::ring>>(how, 0.03);
    check_closely<half, distributed<allfold::halving_doubling>>(how, 0.03);
    check_closely<bfloat16, distributed<allfold::tree>>(how, 0.2);
  }
}

TEST_CASE("the gradients of the other ranks than the root keep their own values") {
  const auto all = reduced<float, primary_device<1>>(4, 3, allfold::scale::mean_over_ranks);
  models::arrays<float> own{sizes};
  for (const int rank : {0, 2, 3}) {
    fill_gradients(own, rank, 3);
    for (std::size_t i = 0; i < sizes.size(); ++i)
      CHECK(same_bits(all[at(rank)][i], own.slopes[i]));
  }
}

TEST_CASE("primary_device and distributed<direct> train to the same bits, equal on all ranks") {
  check_primary_and_direct<float>();
  check_primary_and_direct<double>();
  check_primary_and_direct<half>();
}

TEST_CASE("every algorithm trains to parameters that are equal on all ranks") {
  for (int ranks = 1; ranks <= 5; ++ranks) {
    CAPTURE(ranks);
    const auto ring = train<float, distributed<allfold::ring>>(ranks);
    check_equal(ring, ring);
    const auto tree = train<float, distributed<allfold::tree>>(ranks);
    check_equal(tree, tree);
    const auto halving = train<float, distributed<allfold::halving_doubling>>(ranks);
    check_equal(halving, halving);
    const auto primary = train<float, distributed<allfold::primary<>>>(ranks);
    check_equal(primary, train<float, distributed<allfold::direct>>(ranks));
    for (std::size_t index = 0; index < sizes.size(); ++index)
      for (std::size_t i = 0; i < sizes[index]; ++i)
        for (const auto* each : {&ring, &tree, &halving})
          if (std::abs(each->parameters[0][index][i] - primary.parameters[0][index][i]) > 1e-3f)
            FAIL_CHECK("rank 0's parameters are far from the others'");
  }
}

TEST_CASE("a root that does not exist is told on every rank") {
  const auto all = run_ranks(3, [](auto& world) {
    models::arrays<float> model{sizes};
    allfold::data_parallel<models::arrays<float>, primary_device<3>> replica{model, world};
    replica.reduce_gradients();
  });
  for (const outcome& each : all) {
    CHECK(each.how == ending::usage);
    CHECK(each.says("no rank 3 to be the root among 3 ranks"));
    CHECK(each.says("strategy.cpp:"));
  }
}

TEST_CASE("who steps") {
  std::vector<int> steps(3);
  allfold::spawn(3, [&](auto& world) {
    steps[at(world.rank())] = (primary_device<>::steps(world) ? 1 : 0) +
                              (primary_device<2>::steps(world) ? 10 : 0) +
                              (distributed<>::steps(world) ? 100 : 0);
  });
  CHECK(steps == std::vector<int>{101, 100, 110});
}

static_assert(std::is_empty_v<primary_device<>> && std::is_empty_v<distributed<>>);
static_assert(primary_device<3>::name == "primary_device");
static_assert(distributed<allfold::ring>::name == "distributed");
