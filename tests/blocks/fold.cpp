// Every folding collective on blocks of every shape, against a serial fold, bit for bit.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "shapes.hpp"
#include "support/folding.hpp"

namespace {

/// None, one, more than there are ranks, the longest that fits a slot, one more, several pieces.
constexpr std::size_t counts[] = {0, 1, 19, 124, 125, 1009};

}  // namespace

TEST_CASE_TEMPLATE("all_reduce on blocks", algorithm, allfold::direct, allfold::ring, allfold::tree,
                   allfold::halving_doubling, allfold::primary<0>, allfold::primary<1>) {
  test::failures list;
  test::random_bits random{1};
  const auto what = test::all_reduce_by<algorithm, float, allfold::sum>();
  std::size_t turn = 0;
  for (const test::shape& on : test::shapes) {
    if (on.ranks < what.least_ranks) continue;
    std::vector<test::job> jobs;
    for (std::size_t i = turn % 2; i < std::size(counts); i += on.is_slow() ? 2u : 1u)
      jobs.push_back(all_reduce_job(what, on.ranks, counts[i], (i + turn / 2) % 2 == 0, random));
    ++turn;
    carry_out(jobs, on, list);
  }
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce on blocks", algorithm, allfold::direct, allfold::ring, allfold::tree,
                   allfold::primary<>) {
  test::failures list;
  test::random_bits random{2};
  const auto what = test::reduce_by<algorithm, double, allfold::average>();
  std::size_t turn = 0;
  for (const test::shape& on : test::shapes) {
    std::vector<test::job> jobs;
    for (int i = 0; i < 3; ++i, ++turn) {
      const int root = static_cast<int>(random.below(static_cast<std::uint64_t>(on.ranks)));
      jobs.push_back(reduce_job(what, on.ranks, counts[turn % std::size(counts)], root,
                                random.below(2) == 0, random));
    }
    carry_out(jobs, on, list);
  }
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce_scatter on blocks", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  test::random_bits random{3};
  const auto what = test::reduce_scatter_by<algorithm, float, test::twice_and>();
  for (const test::shape& on : test::shapes) {
    std::vector<test::job> jobs;
    for (const std::size_t share : {0u, 1u, 33u, 211u})
      jobs.push_back(
          reduce_scatter_job(what, on.ranks, share, (jobs.size() + share) % 2 == 0, random));
    carry_out(jobs, on, list);
  }
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("folds in many pieces on blocks", algorithm, allfold::ring, allfold::tree) {
  test::failures list;
  test::random_bits random{4};
  const auto all_reduce = test::all_reduce_by<algorithm, float, allfold::sum>();
  const auto reduce = test::reduce_by<algorithm, allfold::bfloat16, allfold::sum>();
  bool in_place = false;
  for (const test::shape& on : {test::shape{1, {3, 1}}, {2, {32, 1}}, {3, {3, 2}}, {6, {1, 1}}}) {
    const std::size_t count = 2'003 + 300 * static_cast<std::size_t>(on.ranks);
    CHECK(allfold::detail::pieces_of<test::world>(algorithm{}, on.ranks, 4 * count) > 3);
    carry_out({all_reduce_job(all_reduce, on.ranks, count, in_place = !in_place, random),
               reduce_job(reduce, on.ranks, 3 * count, on.ranks / 2, in_place, random)},
              on, list);
  }
  CHECK_NONE(list);
}
