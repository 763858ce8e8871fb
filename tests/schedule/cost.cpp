#include <allfold/schedule/cost.hpp>

#include "schedules.hpp"

#include <doctest/doctest.h>

#include <allfold/allfold.hpp>
#include <bit>

namespace {

using namespace allfold;

constexpr machine_cost costs{
    .call = 1e-7, .latency = 3e-7, .message = 5e-8, .byte = 2e-10, .folded_byte = 7e-11};

/// The same schedule for which it is not known that all ranks take alike.
template <class Schedule>
struct each_by_itself {
  static constexpr collective kind = Schedule::kind;
  static constexpr std::string_view name = Schedule::name;
  constexpr int chunks(int size) const { return Schedule{}.chunks(size); }
  constexpr int steps(int size) const { return Schedule{}.steps(size); }
  constexpr int lag(int size, int index) const { return lag_of(Schedule{}, size, index); }
  constexpr step at(int rank, int size, int index) const {
    return Schedule{}.at(rank, size, index);
  }
  constexpr waits exit(int rank, int size) const { return Schedule{}.exit(rank, size); }
};

double fold(double bytes, int operands) { return operands * bytes * costs.folded_byte; }

}  // namespace

TEST_CASE("a ring costs what its authors say") {
  constexpr double bytes = 1 << 20;
  for (int n = 2; n <= 9; ++n) {
    CAPTURE(n);
    const double chunk = bytes / n;
    const double hop = costs.latency + costs.message + chunk * costs.byte;
    // n - 1 folds of two, n - 1 copies; a last look at the neighbour before leaving.
    const double expected = costs.call + 2 * (n - 1) * hop +
                            (n - 1) * (fold(chunk, 2) + fold(chunk, 1)) + costs.latency;
    CHECK(predicted_seconds(ring{}, n, bytes, costs) == doctest::Approx(expected).epsilon(1e-12));
  }
}

TEST_CASE("direct takes one step in which a rank reaches all others twice") {
  constexpr double bytes = 1 << 20;
  for (int n = 2; n <= 9; ++n) {
    CAPTURE(n);
    const double chunk = bytes / n;
    const double expected = costs.call + 2 * costs.latency +
                            2 * (n - 1) * (costs.message + chunk * costs.byte) + fold(chunk, n);
    CHECK(predicted_seconds(direct{}, n, bytes, costs) == doctest::Approx(expected).epsilon(1e-12));
  }
}

TEST_CASE("without bytes what counts is how many hops follow each other") {
  constexpr machine_cost hops{.latency = 1};
  for (int n = 2; n <= 64; n *= 2) {
    CAPTURE(n);
    const int levels = static_cast<int>(std::bit_width(static_cast<unsigned>(n))) - 1;
    CHECK(predicted_seconds(one_shot{}, n, 8, hops) == 1);
    CHECK(predicted_seconds(direct{}, n, 8, hops) == 2);
    CHECK(predicted_seconds(ring{}, n, 8, hops) == 2 * (n - 1) + 1);
    CHECK(predicted_seconds(dissemination::barrier{}, n, 8, hops) == levels);
    const double tree_hops = predicted_seconds(tree{}, n, 8, hops);
    CHECK(tree_hops >= 2 * levels);
    CHECK(tree_hops <= 4 * levels + 2);
  }
}

TEST_CASE("one rank's way out bounds what all others read from it") {
  constexpr machine_cost bytes_only{.byte = 1};
  CHECK(predicted_seconds(direct::broadcast{}, 8, 100, bytes_only) == 700);
  CHECK(predicted_seconds(direct{}, 4, 100, bytes_only) == 150);  // 2 · 3/4 of the bytes
  CHECK(predicted_seconds(ring{}, 4, 100, bytes_only) == 150);
  CHECK(predicted_seconds(primary<>{}, 4, 100, bytes_only) == 600);
}

TEST_CASE("pieces on their way at the same time make a chain shorter") {
  constexpr machine_cost bytes_only{.byte = 1};
  const double whole = predicted_seconds(ring::broadcast{}, 5, 1000, bytes_only, 1);
  const double cut = predicted_seconds(ring::broadcast{}, 5, 1000, bytes_only, 10);
  CHECK(whole == doctest::Approx(4000));
  CHECK(cut == doctest::Approx(1300));  // the last rank's ten pieces behind the first's three hops
}

TEST_CASE_TEMPLATE("ranks that do alike take alike", plan, ring, ring::reduce_scatter,
                   ring::all_gather, direct, direct::reduce_scatter, direct::all_gather,
                   direct::barrier, one_shot) {
  static_assert(same_for_all_ranks<plan> && !same_for_all_ranks<each_by_itself<plan>>);
  for (int n = 1; n <= 17; ++n)
    for (int pieces = 1; pieces <= 3; ++pieces) {
      CAPTURE(n);
      CAPTURE(pieces);
      const double one = predicted_seconds(plan{}, n, 12345, costs, pieces);
      const double all = predicted_seconds(each_by_itself<plan>{}, n, 12345, costs, pieces);
      CHECK(one == doctest::Approx(all).epsilon(1e-12));
    }
}

TEST_CASE("a prediction is known to the compiler, and quick for very many ranks") {
  static_assert(predicted_seconds(ring{}, 8, 1 << 20, costs) >
                predicted_seconds(direct{}, 8, 1 << 20, costs));
  CHECK(predicted_seconds(ring{}, 16384, 1 << 20, costs) > 2 * 16383 * costs.latency);
}
