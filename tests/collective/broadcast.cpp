// broadcast: every rank gets the root's bytes.
#include <allfold/collective/broadcast.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/moving.hpp"

TEST_CASE_TEMPLATE("broadcast from every root", algorithm, allfold::direct, allfold::ring,
                   allfold::tree) {
  test::failures list;
  test::random_bits random{1};
  std::size_t turn = 0;
  test::for_each(test::tested_types{}, [&](auto element) {
    const auto what = test::broadcast_by<algorithm, typename decltype(element)::of>();
    for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
      const auto counts = test::awkward_counts(ranks, *what.kind);
      std::vector<test::job> jobs;
      for (int root = 0; root < ranks; ++root)
        for (int i = 0; i < 2; ++i, ++turn)
          jobs.push_back(test::broadcast_job(what, ranks, counts[turn % counts.size()], root,
                                             random.below(2) == 0, random));
      carry_out(jobs, ranks, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("broadcast in pieces", algorithm, allfold::direct, allfold::ring,
                   allfold::tree) {
  test::failures list;
  test::random_bits random{2};
  test::for_each(test::types<float, test::pack24>{}, [&](auto element) {
    using T = typename decltype(element)::of;
    const auto what = test::broadcast_by<algorithm, T>();
    const std::size_t count = 600'001 / sizeof(T);
    for (const int ranks : {1, 2, 3, 6})
      for (const bool in_place : {false, true})
        carry_out({test::broadcast_job(what, ranks, count, ranks / 2, in_place, random)}, ranks,
                  list);
  });
  CHECK_NONE(list);
}
