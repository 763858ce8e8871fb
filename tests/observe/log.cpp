// Numbers folded over all ranks, and what becomes of ranks that disagree.
#include <allfold/allfold.hpp>
#include <allfold/observe/log.hpp>

#include "communicator/outcome.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <source_location>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using allfold::aggregate;
using allfold::how;
using allfold::metric;
using allfold::metrics;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Ranks as devices, which collectives of host memory are refused on: numbers alone are gathered.
struct device_world {
  static constexpr allfold::memory_space space = allfold::memory_space::device;
  allfold::threads::communicator& control;
  int rank() const { return control.rank(); }
  int size() const { return control.size(); }
  void abort(const std::string& why) { control.abort(why); }
  std::vector<std::uint64_t> gather_numbers(std::uint64_t mine, std::source_location where) {
    return control.gather(mine, where);
  }
};
static_assert(allfold::communicator<device_world>);

void check_all_returned(const std::vector<outcome>& all) {
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

void require(bool right, const std::string& what) {
  if (!right) throw std::logic_error{what};
}

/// What each rank gets for the values of all ranks.
std::vector<double> aggregated(const std::vector<double>& values, how kind) {
  std::vector<double> results(values.size());
  check_all_returned(run_ranks(static_cast<int>(values.size()), [&](auto& world) {
    const std::size_t rank = at(world.rank());
    results[rank] = aggregate(world, values[rank], kind);
    device_world devices{world};
    const double alike = aggregate(devices, values[rank], kind);
    require(std::bit_cast<std::uint64_t>(alike) == std::bit_cast<std::uint64_t>(results[rank]),
            "devices give something else");
  }));
  return results;
}

}  // namespace

// ---- aggregate ----

TEST_CASE("one value of each rank") {
  const std::vector<double> values{4, -1, 8, 1.5};
  CHECK(aggregated(values, how::mean) == std::vector<double>(4, 3.125));
  CHECK(aggregated(values, how::sum) == std::vector<double>(4, 12.5));
  CHECK(aggregated(values, how::max) == std::vector<double>(4, 8));
  CHECK(aggregated(values, how::min) == std::vector<double>(4, -1));
  CHECK(aggregated(values, how::last) == std::vector<double>(4, 3.125));
  CHECK(aggregated({7}, how::mean) == std::vector<double>{7});
}

TEST_CASE("the sum is in rank order") {
  CHECK(aggregated({1e16, 1, -1e16}, how::sum) == std::vector<double>(3, 0));
  CHECK(aggregated({1e16, -1e16, 1}, how::sum) == std::vector<double>(3, 1));
}

TEST_CASE("a NaN on any rank reaches all, whatever is asked for") {
  for (const how kind : {how::mean, how::sum, how::max, how::min, how::last})
    for (std::size_t odd = 0; odd < 3; ++odd) {
      std::vector<double> values{1, 2, 3};
      values[odd] = not_a_number;
      for (const double each : aggregated(values, kind)) CHECK(std::isnan(each));
    }
}

TEST_CASE("a rank that asks for something else") {
  const auto all = run_ranks(
      3, [](auto& world) { aggregate(world, 1.0, world.rank() == 2 ? how::max : how::mean); });
  for (int rank = 0; rank < 3; ++rank) {
    CHECK(all[at(rank)].how == ending::mismatch);
    CHECK(all[at(rank)].says(rank_name(rank) + ", aggregate at log.cpp:"));
    CHECK(all[at(rank)].says("rank 2 asks for the max and rank 0 for the mean"));
  }
}

TEST_CASE("rank 0 aggregates alone, as the others call something else") {
  for (const outcome& each : run_ranks(3, [](auto& world) {
         if (world.rank() == 0)
           aggregate(world, 1.0);
         else
           allfold::barrier(world);
       })) {
    CHECK(each.how == ending::mismatch);
    CHECK(each.says("rank 0 calls all_gather #0"));
  }
}

TEST_CASE("rank 0 aggregates alone, as the others have gone") {
  const auto all = run_ranks(3, [](auto& world) {
    if (world.rank() == 0) aggregate(world, 1.0);
  });
  CHECK(all[0].how == ending::lost);
  CHECK(all[0].says("all_gather #0"));
  CHECK(all[0].says("has left after completing 0 collectives"));
}

TEST_CASE("one rank is late") {
  const auto late = [](auto& world) {
    if (world.rank() == 1) std::this_thread::sleep_for(1s);
    aggregate(world, 1.0);
  };
  for (const outcome& each : run_ranks(2, late, 50ms)) {
    CHECK(each.how == ending::timeout);
    CHECK(each.says("for rank 1, which has not entered it"));
  }
}

// ---- metrics ----

TEST_CASE("metrics fold over time and over ranks") {
  std::vector<std::vector<metric>> results(3);
  check_all_returned(run_ranks(3, [&](auto& world) {
    const double rank = world.rank();
    metrics all;
    for (int i = 0; i < 3; ++i) {
      all.add("weighted", 10 * rank + i, how::mean, i);
      all.add("mean", rank);
      all.add("sum", 1, how::sum);
      all.add("max", 10 * rank + i, how::max);
      all.add("min", 10 * rank + i, how::min);
      all.add("last", 10 * rank + i, how::last);
    }
    results[at(world.rank())] = all.flush(world, 1);
  }));
  for (const std::vector<metric>& each : results) {
    REQUIRE(each.size() == 6);
    const char* names[] = {"last", "max", "mean", "min", "sum", "weighted"};
    const double values[] = {12, 22, 1, 0, 9, 10 + 5.0 / 3};
    for (std::size_t i = 0; i < 6; ++i) {
      CHECK(each[i].name == names[i]);
      CHECK(each[i].value == doctest::Approx(values[i]));
    }
  }
}

TEST_CASE("a mean is over samples, also where a rank had none") {
  check_all_returned(run_ranks(3, [](auto& world) {
    metrics all;
    const double samples[] = {30, 10, 0};
    all.add("loss", world.rank() + 1.0, how::mean, samples[world.rank()]);
    require(all.flush(world, 0)[0].value == 1.25, "another mean");
  }));
}

TEST_CASE("a flush forgets, and one without a name gives none") {
  check_all_returned(run_ranks(2, [](auto& world) {
    metrics all;
    all.add("loss", 5);
    all.flush(world, 0);
    require(all.flush(world, 1).empty(), "something is left");
    all.add("loss", 7, how::max);  // of another kind, in another interval
    require(all.flush(world, 2)[0].value == 7, "another maximum");
  }));
}

TEST_CASE("metrics of ranks that are devices") {
  check_all_returned(run_ranks(3, [](auto& world) {
    device_world devices{world};
    metrics all;
    all.add("a", world.rank());
    all.add("b", world.rank(), how::max);
    const std::vector<metric> values = all.flush(devices, 0);
    require(values.size() == 2 && values[0].value == 1 && values[1].value == 2, "other values");
  }));
}

TEST_CASE("a name that not all ranks have") {
  for (int size = 2; size <= 3; ++size)
    for (int odd = 0; odd < size; ++odd) {
      const auto all = run_ranks(size, [&](auto& world) {
        metrics values;
        values.add("loss", 1);
        if (world.rank() == odd) values.add("accuracy of the validation", 1, how::max);
        values.flush(world, 0);
      });
      const std::string with = rank_name(odd), without = rank_name(odd == 0 ? 1 : 0);
      for (const outcome& each : all) {
        CHECK(each.how == ending::mismatch);
        CHECK(each.says("metrics at log.cpp:"));
        CHECK_MESSAGE(
            each.says(without + " has no accuracy of the validation, max, which " + with + " has"),
            each.text);
      }
    }
}

TEST_CASE("a name that ranks fold in different ways") {
  const auto all = run_ranks(2, [](auto& world) {
    metrics values;
    values.add("loss", 1, world.rank() == 0 ? how::mean : how::sum);
    values.flush(world, 0);
  });
  for (const outcome& each : all) {
    CHECK(each.how == ending::mismatch);
    CHECK(each.says("rank 1 has no loss, mean, which rank 0 has"));
  }
}

TEST_CASE("ranks flush different steps") {
  const auto all = run_ranks(3, [](auto& world) {
    metrics values;
    values.add("loss", 1);
    values.flush(world, world.rank() == 1 ? -1 : 4);
  });
  for (const outcome& each : all) {
    CHECK(each.how == ending::mismatch);
    CHECK(each.says("rank 1 flushes step -1 and rank 0 step 4"));
  }
}

TEST_CASE("a name of two kinds is the rank's own mistake") {
  metrics values;
  values.add("loss", 1);
  const outcome told = attempt([&] { values.add("loss", 1, how::max); });
  CHECK(told.how == ending::usage);
  CHECK(told.text == "allfold: metrics: loss is the mean so far, and now the max");
}

// ---- sinks ----

TEST_CASE("sinks are called on rank 0") {
  std::ostringstream out;
  std::vector<int> calls(3);
  check_all_returned(run_ranks(3, [&](auto& world) {
    metrics values;
    values.to(allfold::rank_log{out});
    values.to([&](std::int64_t step, std::span<const metric> all) {
      ++calls[at(world.rank())];
      require(all.size() == 2 && step < 2, "other values");
    });
    for (int step = 0; step < 2; ++step) {
      values.add("loss", world.rank() + step * 0.25);
      values.add("accuracy", 0.875, how::max);
      values.flush(world, step);
    }
  }));
  CHECK(out.str() == "step 0: accuracy 0.875, loss 1\nstep 1: accuracy 0.875, loss 1.25\n");
  CHECK(calls == std::vector<int>{2, 0, 0});
}

TEST_CASE("a rank_log aggregates and prints one value") {
  std::ostringstream out;
  check_all_returned(run_ranks(2, [&](auto& world) {
    const allfold::rank_log log{out};
    require(log.value(world, 3, "samples", 20 + world.rank(), how::sum) == 41, "another sum");
  }));
  CHECK(out.str() == "step 3: samples 41\n");
}

TEST_CASE("a sink that fails is rank 0's exception, and the others are told") {
  std::ostringstream broken;
  broken.setstate(std::ios::badbit);
  const auto all = run_ranks(2, [&](auto& world) {
    metrics values;
    values.to(allfold::rank_log{broken});
    values.add("loss", 1);
    values.flush(world, 8);
    allfold::barrier(world);
  });
  CHECK(all[0].text == "allfold: rank_log: can't write step 8");
  CHECK(all[1].how == ending::lost);
  CHECK(all[1].says("rank 0 threw: allfold: rank_log: can't write step 8"));
}
