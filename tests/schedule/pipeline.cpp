#include <allfold/schedule/pipeline.hpp>

#include "schedules.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

using namespace allfold;

/// As much of a schedule as a pipeline asks for: `Lags` holds a lag for each step.
template <int... Lags>
struct lagging {
  int steps(int) const { return sizeof...(Lags); }
  int lag(int, int index) const {
    constexpr int lags[] = {Lags..., 0};
    return lags[index];
  }
};
template <int Steps>
struct prompt {
  int steps(int) const { return Steps; }
};

/// Expects that every step of every piece has exactly one turn, that what is said of a turn agrees
/// with what is said of its step and piece, and that void turns are no more than the lag asks for.
template <class Plan>
void expect_turns(const Plan& plan, int size, int pieces) {
  INFO(plan.steps(size), " steps, ", pieces, " pieces");
  const pipeline<Plan> line{plan, size, pieces};
  const int steps = plan.steps(size);
  CHECK(line.pieces() == pieces);
  CHECK(line.steps() == steps);
  int longest_lag = 0;
  std::vector<int> times(static_cast<std::size_t>(steps * pieces));
  std::vector<int> next_piece(static_cast<std::size_t>(steps));
  for (std::uint64_t turn = 0; turn < line.turns(); ++turn) {
    const int index = line.step_of(turn);
    const int piece = line.piece_of(turn);
    const int round = static_cast<int>(turn / static_cast<std::uint64_t>(steps));
    REQUIRE(0 <= index);
    REQUIRE(index < steps);
    CHECK(line.piece_of(round, index) == piece);
    CHECK(line.is_live(piece) == (0 <= piece && piece < pieces));
    if (!line.is_live(piece)) continue;
    CHECK(line.progress_after(index, piece) == turn + 1);
    ++times[static_cast<std::size_t>(index * pieces + piece)];
    CHECK(next_piece[static_cast<std::size_t>(index)]++ == piece);  // one after the other
  }
  for (const int each : times) CHECK(each == 1);
  for (int index = 0; index < steps; ++index)
    longest_lag = std::max(longest_lag, lag_of(plan, size, index));
  CHECK(line.turns() ==
        static_cast<std::uint64_t>(steps == 0 ? 0 : steps * (pieces + longest_lag)));
}

}  // namespace

TEST_CASE_TEMPLATE("every step of every piece has one turn", Plan, prompt<0>, prompt<1>, prompt<2>,
                   prompt<7>, lagging<0>, lagging<3>, lagging<0, 1>, lagging<1, 0>,
                   lagging<0, 0, 4, 4>, lagging<0, 1, 2, 3, 4>, lagging<5, 0, 2>) {
  for (int pieces = 1; pieces <= 9; ++pieces) expect_turns(Plan{}, 4, pieces);
}

TEST_CASE_TEMPLATE("every step of every piece has one turn in the library's schedules", Plan, ring,
                   tree, direct, halving_doubling, tree::reduce, dissemination::barrier,
                   direct::barrier) {
  for (int size = 1; size <= 9; ++size)
    for (const int pieces : {1, 2, 5, 64}) expect_turns(Plan{}, size, pieces);
}

TEST_CASE("without a lag a piece follows when the one before it is through") {
  const pipeline<prompt<3>> line{{}, 1, 4};
  CHECK(line.turns() == 12);
  for (int turn = 0; turn < 12; ++turn) {
    CHECK(line.step_of(static_cast<std::uint64_t>(turn)) == turn % 3);
    CHECK(line.piece_of(static_cast<std::uint64_t>(turn)) == turn / 3);
  }
}

TEST_CASE("a lag lets later pieces go first") {
  // Rounds:  0: piece 0 up;  1: piece 1 up;  2: piece 2 up, piece 0 down;  3: 1 down;  4: 2 down.
  const pipeline<lagging<0, 2>> line{{}, 1, 3};
  CHECK(line.turns() == 10);
  const int pieces[] = {0, -2, 1, -1, 2, 0, 3, 1, 4, 2};
  for (int turn = 0; turn < 10; ++turn)
    CHECK(line.piece_of(static_cast<std::uint64_t>(turn)) == pieces[turn]);
  CHECK(line.progress_after(1, 0) > line.progress_after(0, 2));
  CHECK(!line.is_live(-2));
  CHECK(!line.is_live(3));
}

TEST_CASE("tree lags by its height when it copies down, and by nothing when it folds up") {
  for (int size = 1; size <= 40; ++size)
    for (int index = 0; index < 4; ++index)
      CHECK(lag_of(tree{}, size, index) == (index < 2 ? 0 : tree_height(size)));
  CHECK(lag_of(ring{}, 8, 3) == 0);  // says nothing of a lag
}

TEST_CASE("turns and progress are counted beyond 32 bits") {
  struct long_plan {
    int steps(int) const { return 100'000; }
  };
  const pipeline<long_plan> line{{}, 50'001, 1 << 20};
  CHECK(line.turns() == 100'000ull * (1ull << 20));
  const std::uint64_t last = line.turns() - 1;
  CHECK(line.step_of(last) == 99'999);
  CHECK(line.piece_of(last) == (1 << 20) - 1);
  CHECK(line.progress_after(99'999, (1 << 20) - 1) == line.turns());
}

TEST_CASE("pipelines are known to the compiler") {
  constexpr pipeline<ring> line{ring{}, 4, 3};
  static_assert(line.turns() == 18);
  static_assert(line.step_of(13) == 1 && line.piece_of(13) == 2);
  static_assert(line.progress_after(1, 2) == 14);
}
