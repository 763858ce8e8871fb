// The collectives that only move elements, on ranks that share memory as processes do.
#include <allfold/collective/barrier.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/dissemination.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include <cstdint>

#include "support/moving.hpp"

namespace {

using test::job;
using test::random_bits;

template <class Algorithm, class T>
void try_moving(int ranks, std::size_t share, bool in_place, random_bits& random,
                std::vector<job>& jobs) {
  const int root = static_cast<int>(random.below(static_cast<std::uint64_t>(ranks)));
  jobs.push_back(test::all_gather_job(test::all_gather_by<Algorithm, T>(), ranks, share, {},
                                      in_place, random));
  jobs.push_back(test::broadcast_job(test::broadcast_by<Algorithm, T>(), ranks, share, root,
                                     in_place, random));
  if constexpr (std::is_same_v<Algorithm, allfold::direct>) {
    jobs.push_back(test::scatter_job(test::scatter_by<Algorithm, T>(), ranks, share, {}, root,
                                     in_place, random));
    jobs.push_back(test::gather_job(test::gather_by<Algorithm, T>(), ranks, share, {}, root,
                                    in_place, random));
    jobs.push_back(
        test::all_to_all_job(test::all_to_all_by<Algorithm, T>(), ranks, share, in_place, random));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("moves on processes", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  random_bits random{1};
  test::for_each(test::types<std::uint8_t, double, test::pack12>{}, [&](auto element) {
    using T = typename decltype(element)::of;
    for (int ranks = 1; ranks <= 6; ++ranks)
      for (const std::size_t share : {0u, 1u, 3u, 17u, 2001u})
        for (int turn = 0; turn < 2; ++turn) {  // both ways of copying
          std::vector<job> jobs;
          for (const bool in_place : {false, true})
            try_moving<algorithm, T>(ranks, share, in_place, random, jobs);
          carry_out(jobs, ranks, list);
        }
  });
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("long moves on processes", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  random_bits random{2};
  for (const int ranks : {2, 3})
    for (int turn = 0; turn < 2; ++turn) {
      std::vector<job> jobs;
      for (const bool in_place : {false, true})
        try_moving<algorithm, test::pack12>(ranks, 90'001, in_place, random, jobs);
      carry_out(jobs, ranks, list);
    }
  CHECK_NONE(list);
}

TEST_CASE("a broadcast by tree on processes, in pieces") {
  test::failures list;
  random_bits random{3};
  const auto what = test::broadcast_by<allfold::tree, float>();
  for (const int ranks : {2, 3, 6})
    for (int turn = 0; turn < 2; ++turn)
      carry_out({test::broadcast_job(what, ranks, 200'001, ranks - 1, turn == 1, random)}, ranks,
                list);
  CHECK_NONE(list);
}
