// all_gather: every rank gets all ranks' bytes, side by side.
#include <allfold/collective/all_gather.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/ring.hpp>

#include <doctest/doctest.h>

#include "support/moving.hpp"

TEST_CASE_TEMPLATE("all_gather of equal shares", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  test::random_bits random{1};
  test::for_each(test::tested_types{}, [&](auto element) {
    const auto what = test::all_gather_by<algorithm, typename decltype(element)::of>();
    for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
      std::vector<test::job> jobs;
      for (const std::size_t share : test::awkward_shares(ranks, *what.kind))
        for (const bool in_place : {false, true})
          jobs.push_back(test::all_gather_job(what, ranks, share, {}, in_place, random));
      carry_out(jobs, ranks, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("all_gather by counts, some of them zero", algorithm, allfold::direct,
                   allfold::ring) {
  test::failures list;
  test::random_bits random{2};
  test::for_each(test::tested_types{}, [&](auto element) {
    const auto what = test::all_gather_by<algorithm, typename decltype(element)::of>();
    for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
      std::vector<test::job> jobs;
      for (const auto& counts : test::awkward_counts_per_rank(ranks, random))
        for (const bool in_place : {false, true})
          jobs.push_back(test::all_gather_job(what, ranks, 0, counts, in_place, random));
      carry_out(jobs, ranks, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("a long all_gather", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  test::random_bits random{3};
  const auto what = test::all_gather_by<algorithm, test::pack12>();
  for (const int ranks : {2, 3, 5})
    for (const bool in_place : {false, true})
      carry_out({test::all_gather_job(what, ranks, 30'011, {}, in_place, random)}, ranks, list);
  CHECK_NONE(list);
}
