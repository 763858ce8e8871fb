// all_to_all: part r of rank s becomes part s of rank r.
#include <allfold/collective/all_to_all.hpp>
#include <allfold/launch/spawn.hpp>
#include <allfold/schedule/direct.hpp>

#include <doctest/doctest.h>

#include "support/moving.hpp"

TEST_CASE("all_to_all in place and out of place") {
  test::failures list;
  test::random_bits random{1};
  test::for_each(test::tested_types{}, [&](auto element) {
    const auto what = test::all_to_all_by<allfold::direct, typename decltype(element)::of>();
    for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
      std::vector<test::job> jobs;
      for (const std::size_t share : test::awkward_shares(ranks, *what.kind))
        for (const bool in_place : {false, true})
          jobs.push_back(test::all_to_all_job(what, ranks, share, in_place, random));
      carry_out(jobs, ranks, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE("all_to_all whose input is its output is in place") {
  allfold::spawn(3, [](auto& world) {
    std::vector<int> data;
    for (int part = 0; part < 3; ++part) data.push_back(10 * world.rank() + part);
    allfold::all_to_all(world, data, data);
    CHECK(data == std::vector<int>{world.rank(), 10 + world.rank(), 20 + world.rank()});
  });
}

TEST_CASE("a long all_to_all") {
  test::failures list;
  test::random_bits random{2};
  const auto what = test::all_to_all_by<allfold::direct, test::pack12>();
  for (const int ranks : {2, 3, 5})
    for (const bool in_place : {false, true})
      carry_out({test::all_to_all_job(what, ranks, 30'011, in_place, random)}, ranks, list);
  CHECK_NONE(list);
}
