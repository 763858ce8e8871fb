#include <allfold/schedule/proof.hpp>

#include "schedules.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <concepts>

namespace {

using namespace allfold;

void expect_sound(const proof& found, const std::string& whose) {
  INFO(whose);
  CHECK(verdict(found) == "sound");
  CHECK(found.complete);
  CHECK(found.deadlock_free);
  CHECK(found.race_free);
}

template <class Schedule>
proof check_sound(const Schedule& plan, int size, int pieces = 1) {
  const proof found = prove(plan, size, pieces);
  expect_sound(found, title<Schedule>(size) + " in " + std::to_string(pieces) + " pieces, root " +
                          std::to_string(root_of(plan)));
  return found;
}

template <class Schedule>
concept rooted = requires(Schedule plan) {
  plan.root = 0;
};

/// Calls `check(plan, size)` for every number of ranks, up to `most`, that the schedule allows.
/// Where it has a root: for every rank as the root, or beyond 16 ranks for a few.
template <class Schedule, class Check>
void for_sizes(int most, Check check) {
  if constexpr (rooted<Schedule>) {
    for (int size = 1; size <= most; ++size)
      for (int root = 0; root < size; ++root) {
        if (size > 16 && root != 0 && root != 1 && root != size / 2 && root != size - 1) continue;
        Schedule plan;
        plan.root = root;
        check(plan, size);
      }
  } else {
    for (int size = root_of(Schedule{}) + 1; size <= most; ++size) check(Schedule{}, size);
  }
}

}  // namespace

#define ALL_REDUCES one_shot, direct, ring, tree, halving_doubling, primary<0>, primary<2>
#define OTHERS                                                                                   \
  direct::reduce, ring::reduce, tree::reduce, primary<0>::reduce, direct::reduce_scatter,        \
      ring::reduce_scatter, direct::broadcast, ring::broadcast, tree::broadcast,                 \
      direct::all_gather, ring::all_gather, direct::scatter, direct::gather, direct::all_to_all, \
      direct::barrier, dissemination::barrier, one_shot::reduce, one_shot::broadcast,            \
      one_shot::reduce_scatter, one_shot::all_gather, one_shot::scatter, one_shot::gather,       \
      one_shot::all_to_all

TEST_CASE_TEMPLATE("sound over 1 to 64 ranks", Schedule, ALL_REDUCES, OTHERS) {
  for_sizes<Schedule>(64, [](const Schedule& plan, int size) {
    for (int pieces = 1; pieces <= (size <= 8 ? 5 : 3); ++pieces) check_sound(plan, size, pieces);
  });
}

TEST_CASE("all_to_all is sound in place") {
  for (int size = 1; size <= 64; ++size)
    for (int pieces = 1; pieces <= (size <= 8 ? 5 : 3); ++pieces) {
      check_sound(direct::all_to_all{.in_place = true}, size, pieces);
      check_sound(one_shot::all_to_all{.in_place = true}, size, pieces);
    }
}

TEST_CASE("tree is sound in more pieces than it lags") {
  for (int size = 1; size <= 40; ++size)
    for (const int more : {1, 2, 5}) check_sound(tree{}, size, tree_height(size) + more);
}

TEST_CASE_TEMPLATE("sound over many ranks", Schedule, one_shot, direct, ring, halving_doubling,
                   ring::reduce_scatter, direct::all_gather, direct::all_to_all) {
  for (const int size : {100, 127, 128}) check_sound(Schedule{}, size);
}

TEST_CASE_TEMPLATE("sound over very many ranks", Schedule, tree, primary<0>, primary<2>,
                   direct::reduce, ring::reduce, tree::reduce, ring::broadcast, tree::broadcast,
                   direct::scatter, dissemination::barrier) {
  for (const int size : {129, 255, 256}) check_sound(Schedule{}, size);
}

TEST_CASE_TEMPLATE("folds in rank order, whatever the root", Schedule, one_shot, direct, primary<0>,
                   primary<2>, direct::reduce, direct::reduce_scatter, primary<0>::reduce,
                   primary<2>::reduce, one_shot::reduce, one_shot::reduce_scatter) {
  for_sizes<Schedule>(20, [](const Schedule& plan, int size) {
    CHECK(check_sound(plan, size).rank_ordered);
    CHECK(check_sound(plan, size, 2).rank_ordered);
  });
}

TEST_CASE("ring folds in rank order only where there is nothing to order") {
  for (int size = 1; size <= 20; ++size) {
    INFO(size, " ranks");
    CHECK(prove<ring>(size).rank_ordered == (size == 1));
    CHECK(prove<ring::reduce_scatter>(size).rank_ordered == (size == 1));
    for (int root = 0; root < size; ++root)  // a chain of folds is not one fold
      CHECK(prove(ring::reduce{root}, size).rank_ordered ==
            (size == 1 || (size == 2 && root == 1)));
  }
}

TEST_CASE_TEMPLATE("tree and halving_doubling fold up to two ranks in rank order", Schedule, tree,
                   halving_doubling) {
  for (int size = 1; size <= 20; ++size) {
    INFO(size, " ranks");
    CHECK(prove<Schedule>(size).rank_ordered == (size <= 2));
  }
}

TEST_CASE_TEMPLATE("what folds nothing counts as in rank order", Schedule, ring::broadcast,
                   direct::all_gather, direct::all_to_all, dissemination::barrier) {
  CHECK(prove<Schedule>(5).rank_ordered);
}

TEST_CASE("a schedule whose root is not among the ranks is not sound") {
  CHECK(!prove<primary<2>>(1).sound());
  CHECK(!prove<primary<2>>(2).sound());
  CHECK(prove<primary<2>>(3).sound());
  for (const int root : {-1, 4, 5}) {
    CHECK(!prove(direct::reduce{root}, 4).sound());
    CHECK(!prove(direct::gather{root}, 4).sound());
    CHECK(!prove(ring::broadcast{root}, 4).sound());
    CHECK(!prove(tree::reduce{root}, 4).sound());
    CHECK(!prove(ring::reduce{root}, 4).sound());
  }
}

TEST_CASE("every flaw has words of its own") {
  constexpr int flaws = static_cast<int>(flaw::outside_memory) + 1;
  std::string_view names[flaws];
  for (int i = 0; i < flaws; ++i) names[i] = name_of(static_cast<flaw>(i));
  CHECK(names[0] == "sound");
  std::sort(std::begin(names), std::end(names));
  CHECK(names[0] != "");
  CHECK(std::adjacent_find(std::begin(names), std::end(names)) == std::end(names));
}
