// Norms and clipping, against PyTorch's, on one rank and divided over ranks.
#include <allfold/allfold.hpp>
#include <allfold/data_parallel/gradient_norm.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"
#include "numerics.hpp"
#include "numerics_golden.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <source_location>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using namespace outcomes;
using namespace numerics;
using allfold::bfloat16;
using allfold::clip_gradient_norm;
using allfold::gradient_norm;
using allfold::half;
using allfold::nonfinite;
using models::same_bits;

template <class T>
using lists = std::vector<std::vector<T>>;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
const std::vector<std::size_t> sizes{19, 0, 1, 8};  // as in numerics_golden.py

template <class T>
std::vector<T> joined(const lists<T>& all) {
  std::vector<T> flat;
  for (const auto& each : all) flat.insert(flat.end(), each.begin(), each.end());
  return flat;
}

template <class T>
void check_after(const std::vector<T>& found, const golden_numerics::clip& expected) {
  REQUIRE(found.size() == expected.after.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK_MESSAGE(close(wide(found[i]), expected.after[i], precision<T>), wide(found[i]),
                  " instead of ", expected.after[i]);
  }
}

template <class T>
void check_clips() {
  for (const golden_numerics::clip& expected : golden_numerics::clips) {
    CAPTURE(expected.norm);
    CAPTURE(expected.max_norm);
    auto gradients = cut(narrow<T>(expected.before), sizes);
    CHECK(close(gradient_norm(gradients, expected.norm), expected.total, 1e-15));
    const double norm = clip_gradient_norm(gradients, expected.max_norm, {.norm = expected.norm});
    CHECK(close(norm, expected.total, 1e-15));
    check_after(joined(gradients), expected);
  }
}

/// Rank `rank`'s part of each array.
template <class T>
std::vector<std::span<T>> part_of(lists<T>& whole, int rank, int ranks) {
  std::vector<std::span<T>> parts;
  for (auto& each : whole) {
    const std::size_t begin = part_begin(each.size(), rank, ranks);
    parts.push_back(
        std::span{each}.subspan(begin, part_begin(each.size(), rank + 1, ranks) - begin));
  }
  return parts;
}

template <class T>
void check_divided_clips() {
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const golden_numerics::clip& expected : golden_numerics::clips) {
      CAPTURE(ranks);
      CAPTURE(expected.norm);
      CAPTURE(expected.max_norm);
      auto whole = cut(narrow<T>(expected.before), sizes);
      std::vector<double> norms(at(ranks)), clipped(at(ranks));
      allfold::spawn(ranks, [&](auto& world) {
        const auto own = part_of(whole, world.rank(), ranks);
        norms[at(world.rank())] = gradient_norm(world, own, expected.norm);
        clipped[at(world.rank())] =
            clip_gradient_norm(world, own, expected.max_norm, {.norm = expected.norm});
      });
      CHECK(close(norms[0], expected.total, 1e-14));
      CHECK(same_bits(norms, clipped));
      CHECK(same_bits(norms, std::vector<double>(at(ranks), norms[0])));
      check_after(joined(whole), expected);
    }
}

/// 3 and 4 of a unit: the 2-norm is 5 of it.
template <class T>
void check_unit(double unit) {
  CAPTURE(unit);
  lists<T> gradients{{}, {narrow<T>(3 * unit)}, {narrow<T>(-4 * unit), narrow<T>(0)}};
  CHECK(close(gradient_norm(gradients), 5 * unit, 1e-15));
  std::vector<double> norms(3);
  allfold::spawn(3, [&](auto& world) {
    const std::span<std::vector<T>> own{&gradients[at(world.rank())], 1};
    norms[at(world.rank())] = gradient_norm(world, own);
  });
  for (const double each : norms) CHECK(close(each, 5 * unit, 1e-15));
}

// `call` is written on the line that the error must name.
void refused(auto&& call, const std::string& function, const std::string& why,
             std::source_location here = std::source_location::current()) {
  const outcome found = attempt(call);
  CHECK(found.how == ending::usage);
  CHECK(found.text == "allfold: " + function + " at " + allfold::place_of(here) + ": " + why);
}

}  // namespace

TEST_CASE("clip_gradient_norm gives what PyTorch's clip_grad_norm_ gives") {
  check_clips<float>();
  check_clips<double>();
  check_clips<half>();
  check_clips<bfloat16>();
}

TEST_CASE("gradients that are divided over ranks are clipped by the norm of all") {
  check_divided_clips<float>();
  check_divided_clips<double>();
  check_divided_clips<half>();
  check_divided_clips<bfloat16>();
}

TEST_CASE("elements are scaled in the accumulator, and left alone if the norm is no larger") {
  lists<half> gradients{models::noise<half>(100, 1), models::noise<half>(33, 2)};
  const lists<half> before = gradients;
  const double norm = clip_gradient_norm(gradients, 1e6);
  CHECK(joined(gradients).size() == 133);
  CHECK(same_bits(joined(gradients), joined(before)));
  clip_gradient_norm(gradients, 0.5);
  const auto factor = static_cast<float>(0.5 / (norm + 1e-6));
  for (std::size_t i = 0; i < gradients.size(); ++i)
    for (std::size_t k = 0; k < gradients[i].size(); ++k)
      CHECK(gradients[i][k].bits == half{static_cast<float>(before[i][k]) * factor}.bits);
}

TEST_CASE("norms of many elements are exact to the last digits") {
  const lists<float> gradients{models::noise<float>(100'003, 1), models::noise<float>(7, 2)};
  long double squares = 0, sizes_of_all = 0;
  for (const float each : joined(gradients)) {
    squares += static_cast<long double>(each) * static_cast<long double>(each);
    sizes_of_all += std::abs(static_cast<long double>(each));
  }
  CHECK(close(gradient_norm(gradients), static_cast<double>(std::sqrt(squares)), 1e-14));
  CHECK(close(gradient_norm(gradients, 1), static_cast<double>(sizes_of_all), 1e-14));
}

TEST_CASE("nothing overflows or vanishes that the norm itself can hold") {
  check_unit<half>(0x1p13);
  check_unit<half>(0x1p-24);
  check_unit<bfloat16>(0x1p125);
  check_unit<bfloat16>(0x1p-130);
  check_unit<float>(0x1p125);
  check_unit<float>(0x1p-149);
  for (const double unit :
       {0x1p1021, 0x1p1000, 0x1p500, 0x1p400, 1.0, 0x1p-400, 0x1p-600, 0x1p-1074})
    check_unit<double>(unit);
  const lists<half> most{std::vector<half>(10'000, half{65504.0f})};
  CHECK(gradient_norm(most) == 6550400);
  CHECK(gradient_norm(most, 1) == 655040000);
  CHECK(gradient_norm(lists<float>{}) == 0);
  CHECK(gradient_norm(lists<double>{{}, {0, -0.0}}) == 0);
}

TEST_CASE("a NaN anywhere makes the norm NaN, also beside an infinity, on every rank") {
  for (const double p : {1.0, 2.0, infinity})
    for (int odd = 0; odd < 4; ++odd) {
      std::vector<double> norms(4);
      allfold::spawn(4, [&](auto& world) {
        std::vector<double> part(11, 1.0);
        part[3] = world.rank() == odd ? not_a_number : infinity;
        norms[at(world.rank())] = gradient_norm(world, std::array{std::span{part}}, p);
        part[9] = not_a_number;
        if (!std::isnan(gradient_norm(std::array{std::span{part}}, p))) norms[at(world.rank())] = 0;
      });
      CAPTURE(p);
      CAPTURE(odd);
      for (const double each : norms) CHECK(std::isnan(each));
    }
}

TEST_CASE("what becomes of a norm that is not finite is chosen") {
  for (const double odd : {infinity, not_a_number}) {
    lists<double> gradients{{1, 2}, {odd, 4}};
    const lists<double> before = gradients;
    CHECK(close(clip_gradient_norm(gradients, 1, {.on_nonfinite = nonfinite::leave}), odd, 0));
    CHECK(same_bits(joined(gradients), joined(before)));
    const std::string text = std::to_string(odd);
    const allfold::clip_options failing{.on_nonfinite = nonfinite::fail};
    refused([&] { clip_gradient_norm(gradients, 1, failing); }, "clip_gradient_norm",
            "the norm of the gradients is " + text);
    CHECK(same_bits(joined(gradients), joined(before)));
    const auto all = run_ranks(3, [&](auto& world) {
      std::vector<double> part{1, world.rank() == 1 ? odd : 2};
      clip_gradient_norm(world, std::array{std::span{part}}, 1, failing);
    });
    for (int rank = 0; rank < 3; ++rank) {
      CHECK(all[at(rank)].how == ending::usage);
      CHECK(all[at(rank)].says(rank_name(rank) + ", clip_gradient_norm at gradient_norm.cpp:"));
      CHECK(all[at(rank)].says("the norm of the gradients is " + text));
    }
  }
}

TEST_CASE("calls that can't be right are refused") {
  lists<float> some{{1, 2}};
  refused([&] { gradient_norm(some, 3); }, "gradient_norm",
          "the norm is 3.000000; it must be 1, 2 or infinity");
  refused([&] { clip_gradient_norm(some, 1, {.norm = 0}); }, "clip_gradient_norm",
          "the norm is 0.000000; it must be 1, 2 or infinity");
  refused([&] { clip_gradient_norm(some, -1); }, "clip_gradient_norm",
          "the largest norm is -1.000000; it must not be negative");
  refused([&] { clip_gradient_norm(some, not_a_number); }, "clip_gradient_norm",
          "the largest norm is nan; it must not be negative");
  CHECK(same_bits(some[0], std::vector<float>{1, 2}));
}

TEST_CASE("what one rank calls wrongly, all are told") {
  const auto wrong = run_ranks(3, [](auto& world) {
    std::vector<float> part(4, 1.0f);
    clip_gradient_norm(world, std::array{std::span{part}}, world.rank() == 1 ? -1.0 : 1.0);
    allfold::barrier(world);
  });
  for (const outcome& each : wrong) {
    CHECK(each.how == ending::usage);
    CHECK(each.says("rank 1"));
    CHECK(each.says("clip_gradient_norm at gradient_norm.cpp:"));
  }
  const auto different = run_ranks(2, [](auto& world) {
    std::vector<float> part(4, 1.0f);
    gradient_norm(world, std::array{std::span{part}}, world.rank() == 1 ? 1.0 : 2.0);
  });
  for (const outcome& each : different) CHECK(each.how == ending::mismatch);
}

TEST_CASE("after a reduction all ranks clip alike without a word to each other") {
  for (int ranks = 1; ranks <= 5; ++ranks) {
    std::vector<std::vector<float>> slopes(at(ranks));
    std::vector<double> norms(at(ranks));
    allfold::spawn(ranks, [&](auto& world) {
      models::arrays<float> model{{1000, 3}};
      for (std::size_t i = 0; i < 2; ++i)
        model.slopes[i] =
            models::noise<float>(model.slopes[i].size(), static_cast<unsigned>(world.rank()));
      allfold::data_parallel<models::arrays<float>, allfold::distributed<allfold::ring>> replica{
          model, world};
      replica.reduce_gradients();
      norms[at(world.rank())] = clip_gradient_norm(model.gradients(), 0.25);
      slopes[at(world.rank())] = joined(model.slopes);
    });
    CHECK(norms[0] > 1);
    CHECK(same_bits(norms, std::vector<double>(at(ranks), norms[0])));
    for (const auto& each : slopes) CHECK(same_bits(each, slopes[0]));
    CHECK(close(gradient_norm(std::array{std::span{slopes[0]}}), 0.25, 1e-6));
  }
}

static_assert(allfold::gradient_ranges<lists<float>&>);
static_assert(allfold::gradient_ranges<std::vector<std::span<half>>>);
static_assert(!allfold::gradient_ranges<std::vector<float>>);
static_assert(!allfold::gradient_ranges<lists<int>>);
static_assert(!allfold::gradient_ranges<std::vector<allfold::device_span<float>>>);
