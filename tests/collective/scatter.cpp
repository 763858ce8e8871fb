// scatter: every rank gets its part of the root's bytes.
#include <allfold/collective/scatter.hpp>
#include <allfold/schedule/direct.hpp>

#include <doctest/doctest.h>

#include "support/moving.hpp"

TEST_CASE("scatter from every root, equal shares") {
  test::failures list;
  test::random_bits random{1};
  std::size_t turn = 0;
  test::for_each(test::tested_types{}, [&](auto element) {
    const auto what = test::scatter_by<allfold::direct, typename decltype(element)::of>();
    for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
      const auto shares = test::awkward_shares(ranks, *what.kind);
      std::vector<test::job> jobs;
      for (int root = 0; root < ranks; ++root)
        for (int i = 0; i < 2; ++i, ++turn)
          jobs.push_back(test::scatter_job(what, ranks, shares[turn % shares.size()], {}, root,
                                           random.below(2) == 0, random));
      carry_out(jobs, ranks, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE("scatter from every root by counts, some of them zero") {
  test::failures list;
  test::random_bits random{2};
  test::for_each(test::tested_types{}, [&](auto element) {
    const auto what = test::scatter_by<allfold::direct, typename decltype(element)::of>();
    for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
      std::vector<test::job> jobs;
      int turn = 0;
      for (const auto& counts : test::awkward_counts_per_rank(ranks, random))
        for (const bool in_place : {false, true})
          jobs.push_back(
              test::scatter_job(what, ranks, 0, counts, turn++ % ranks, in_place, random));
      carry_out(jobs, ranks, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE("a long scatter") {
  test::failures list;
  test::random_bits random{3};
  const auto what = test::scatter_by<allfold::direct, test::pack12>();
  for (const int ranks : {2, 3, 5})
    for (const bool in_place : {false, true})
      carry_out({test::scatter_job(what, ranks, 30'011, {}, ranks - 1, in_place, random)}, ranks,
                list);
  CHECK_NONE(list);
}
