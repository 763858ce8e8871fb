// The scale step by step, against PyTorch's, and what all ranks agree on.
#include <allfold/allfold.hpp>
#include <allfold/data_parallel/gradient_scaler.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"
#include "numerics.hpp"
#include "numerics_golden.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace outcomes;
using namespace numerics;
using allfold::bfloat16;
using allfold::gradient_scaler;
using allfold::half;
using allfold::scaler_options;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// One step of the training with two gradients, the last element of which is `last`.
template <class T>
bool step(auto& world, gradient_scaler& scaler, double last) {
  std::vector<T> first(11, narrow<T>(1)), second(3, narrow<T>(2));
  second[2] = narrow<T>(last);
  scaler.unscale(world, std::array{std::span{first}, std::span{second}});
  bool called = false;
  const bool stepped = scaler.step([&] { called = true; });
  if (called != stepped || stepped != scaler.step_allowed())
    throw std::logic_error{"the optimizer was called where it is not allowed, or not where it is"};
  scaler.update();
  return stepped;
}

/// Rank `odd` alone sees what is not finite; all ranks' scales must be PyTorch's.
template <class T>
void check_sequence(const golden_numerics::scaler& expected, int ranks) {
  std::vector<std::string> wrong(at(ranks));
  allfold::spawn(ranks, [&](auto& world) {
    gradient_scaler scaler{world,
                           {expected.scale, expected.growth, expected.backoff, expected.interval}};
    for (std::size_t i = 0; i < expected.steps.size(); ++i) {
      const golden_numerics::scaler_step& now = expected.steps[i];
      const bool odd = now.found_inf && static_cast<int>(i) % ranks == world.rank();
      const bool stepped = step<T>(world, scaler, odd ? (i % 2 == 0 ? infinity : not_a_number) : 1);
      if (stepped == now.found_inf || scaler.scale() != now.scale ||
          scaler.growth_tracker() != now.growth_tracker)
        wrong[at(world.rank())] += " " + std::to_string(i);
    }
  });
  for (const std::string& each : wrong) CHECK(each == "");
}

template <class T>
void check_sequences() {
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const golden_numerics::scaler& expected : golden_numerics::scalers) {
      CAPTURE(ranks);
      CAPTURE(expected.scale);
      check_sequence<T>(expected, ranks);
    }
}

template <class T>
void check_unscaling() {
  allfold::spawn(2, [](auto& world) {
    gradient_scaler scaler{world, {.scale = 1024}};
    if (wide(scaler.scale(narrow<T>(0.75))) != 768) throw std::logic_error{"scaled wrongly"};
    std::vector<T> gradient{narrow<T>(768), narrow<T>(-1024), narrow<T>(0)};
    if (!scaler.unscale(world, std::array{std::span{gradient}}))
      throw std::logic_error{"finite gradients are refused"};
    if (!models::same_bits(gradient, narrow<T>({0.75, -1, 0})))
      throw std::logic_error{"unscaled wrongly"};
  });
}

struct alone {
  int rank() const { return 3; }
};

void refused(auto&& call, const std::string& function, const std::string& why) {
  const outcome found = attempt(call);
  CAPTURE(found);
  CHECK(found.how == ending::usage);
  CHECK(found.says("rank 3, " + function + " at gradient_scaler.cpp:"));
  CHECK(found.says(why));
}

}  // namespace

TEST_CASE("the scale goes as PyTorch's GradScaler has it, on every rank, whichever sees an inf") {
  check_sequences<float>();
  check_sequences<double>();
  check_sequences<half>();
  check_sequences<bfloat16>();
}

TEST_CASE("loss and gradients are multiplied by the scale and its reciprocal") {
  check_unscaling<float>();
  check_unscaling<double>();
  check_unscaling<half>();
  check_unscaling<bfloat16>();
}

TEST_CASE("half gradients that would vanish come back from a scaled loss") {
  allfold::spawn(1, [](auto& world) {
    constexpr float small = 0x1p-30f;
    CHECK(half{small}.bits == 0);  // without a scale
    gradient_scaler scaler{world};
    std::vector<float> gradient{static_cast<float>(half{small * scaler.scale()})};
    CHECK(scaler.unscale(world, std::array{std::span{gradient}}));
    CHECK(gradient[0] == small);
  });
}

TEST_CASE("gradients of an odd scale are multiplied by the rounded reciprocal") {
  allfold::spawn(1, [](auto& world) {
    gradient_scaler scaler{world, {.scale = 1000}};
    std::vector<double> gradient{3.0};
    scaler.unscale(world, std::array{std::span{gradient}});
    CHECK(gradient[0] == 3.0 * static_cast<double>(static_cast<float>(1.0 / 1000.0)));
  });
}

TEST_CASE("a scaler goes on where another was") {
  allfold::spawn(3, [](auto& world) {
    const scaler_options options{.interval = 3};
    gradient_scaler first{world, options}, second{world, options};
    for (const double last : {1.0, 1.0, 1.0, 1.0, infinity, 1.0, 1.0})
      step<float>(world, first, last);
    if (first.scale() != 65536 || first.growth_tracker() != 2)
      throw std::logic_error{"another state"};
    second.restore(first.scale(), first.growth_tracker());
    for (const double last : {1.0, 1.0, infinity, 1.0}) {
      step<float>(world, first, last);
      step<float>(world, second, last);
      if (first.scale() != second.scale() || first.growth_tracker() != second.growth_tracker())
        throw std::logic_error{"not the same state"};
    }
  });
}

TEST_CASE("the scale keeps a reciprocal that is finite") {
  allfold::spawn(1, [](auto& world) {
    gradient_scaler scaler{world, {.scale = 0x1p-120f}};
    for (int i = 0; i < 20; ++i) step<float>(world, scaler, infinity);
    CHECK(scaler.scale() == 0x1p-126f);
  });
}

TEST_CASE("with a replica all ranks step or none, under both strategies") {
  const auto parameters_after = [](auto strategy, bool overflow) {
    std::vector<float> found(3);
    allfold::spawn(3, [&](auto& world) {
      models::arrays<float> model{{4}};
      allfold::data_parallel<models::arrays<float>, decltype(strategy)> replica{model, world};
      gradient_scaler scaler{world};
      model.fill(1, 65536);
      // The sum of three overflows float on the ranks that fold; under primary_device on one alone.
      if (overflow) model.slopes[0][2] = 0x1p127f;
      replica.reduce_gradients();
      scaler.unscale(world, model.gradients());
      scaler.step([&] {
        replica.step([](std::span<float> parameter, std::span<const float> gradient) {
          for (std::size_t i = 0; i < parameter.size(); ++i) parameter[i] -= gradient[i];
        });
      });
      scaler.update();
      found[at(world.rank())] = model.values[0][1] + scaler.scale();
    });
    return found;
  };
  for (const bool overflow : {false, true}) {
    const std::vector<float> expected(3, overflow ? 32769.0f : 65536.0f);
    CHECK(parameters_after(allfold::distributed<>{}, overflow) == expected);
    CHECK(parameters_after(allfold::primary_device<1>{}, overflow) == expected);
  }
}

TEST_CASE("misuse names the rank and the place") {
  gradient_scaler scaler{alone{}};
  refused([&] { scaler.update(); }, "gradient_scaler::update", "call unscale before it");
  refused([&] { scaler.step([] {}); }, "gradient_scaler::step", "call unscale before it");
  refused([&] { static_cast<void>(scaler.step_allowed()); }, "gradient_scaler::step_allowed",
          "call unscale before it");
  refused([&] { scaler.restore(0, 1); }, "gradient_scaler::restore", "the scale is 0.000000");
  refused([&] { scaler.restore(1, -1); }, "gradient_scaler::restore", "the growth tracker is -1");
  for (const float scale : {-1.0f, 0.0f, 0x1p-140f, static_cast<float>(infinity), std::nanf("")})
    refused(
        [&] {
          gradient_scaler{alone{}, {.scale = scale}};
        },
        "gradient_scaler", "it must be positive, finite and not subnormal");
  for (const double growth : {1.0, infinity, not_a_number})
    refused(
        [&] {
          gradient_scaler{alone{}, {.growth = growth}};
        },
        "gradient_scaler", "it must be over 1");
  for (const double backoff : {0.0, 1.0, not_a_number})
    refused(
        [&] {
          gradient_scaler{alone{}, {.backoff = backoff}};
        },
        "gradient_scaler", "it must be between 0 and 1");
  refused(
      [&] {
        gradient_scaler{alone{}, {.interval = 0}};
      },
      "gradient_scaler", "the interval is 0; it must be positive");
}

TEST_CASE("to unscale or step twice is refused, and told to all ranks") {
  for (int odd = 0; odd < 3; ++odd) {
    const auto all = run_ranks(3, [odd](auto& world) {
      gradient_scaler scaler{world};
      std::vector<float> gradient(3, 1.0f);
      scaler.unscale(world, std::array{std::span{gradient}});
      if (world.rank() != odd) scaler.update();
      scaler.unscale(world, std::array{std::span{gradient}});
    });
    for (const outcome& each : all) {
      CAPTURE(each);
      CHECK(each.how == ending::usage);
      CHECK(each.says(rank_name(odd)));
      CHECK(each.says("gradient_scaler::unscale at gradient_scaler.cpp:"));
      CHECK(each.says("unscaled already since the last update"));
    }
  }
  allfold::spawn(1, [](auto& world) {
    gradient_scaler scaler{world};
    std::vector<float> gradient(3, 1.0f);
    scaler.unscale(world, std::array{std::span{gradient}});
    scaler.step([] {});
    const outcome twice = attempt([&] { scaler.step([] {}); });
    CHECK(twice.says("rank 0, gradient_scaler::step at gradient_scaler.cpp:"));
    CHECK(twice.says("called already since the last update"));
    scaler.update();
    CHECK(attempt([&] { scaler.update(); }).how == ending::usage);
  });
}
