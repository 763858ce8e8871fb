// The collectives that only move elements, on several nodes.
#include <allfold/collective/barrier.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>

#include "support/moving.hpp"

namespace {

using allfold::automatic;
using allfold::direct;
using allfold::hierarchical;
using allfold::ring;
using allfold::tree;
using test::job;
using test::random_bits;

template <class Algorithm, class T>
void add_moves(int ranks, std::size_t share, bool in_place, random_bits& random,
               std::vector<job>& jobs) {
  const int root = static_cast<int>(random.below(static_cast<std::uint64_t>(ranks)));
  std::vector<std::size_t> counts;
  for (int rank = 0; rank < ranks; ++rank) counts.push_back(random.below(3) * (share / 2));
  jobs.push_back(test::broadcast_job(test::broadcast_by<Algorithm, T>(), ranks, share, root,
                                     in_place, random));
  jobs.push_back(
      test::all_to_all_job(test::all_to_all_by<Algorithm, T>(), ranks, share, in_place, random));
  for (const auto& each : {std::vector<std::size_t>{}, counts}) {
    jobs.push_back(test::all_gather_job(test::all_gather_by<Algorithm, T>(), ranks, share, each,
                                        in_place, random));
    jobs.push_back(test::scatter_job(test::scatter_by<Algorithm, T>(), ranks, share, each, root,
                                     in_place, random));
    jobs.push_back(test::gather_job(test::gather_by<Algorithm, T>(), ranks, share, each, root,
                                    in_place, random));
  }
}

template <class Algorithm>
void try_moves(test::failures& list) {
  random_bits random{1};
  test::for_each(test::types<std::uint8_t, double, test::pack12>{}, [&](auto element) {
    using T = typename decltype(element)::of;
    for (int ranks = 1; ranks <= test::most_ranks; ++ranks)
      for (const std::size_t share : {0u, 1u, 3u, 17u, 601u}) {
        std::vector<job> jobs;
        for (const bool in_place : {false, true})
          add_moves<Algorithm, T>(ranks, share, in_place, random, jobs);
        carry_out(jobs, ranks, list);
      }
  });
  CHECK_NONE(list);
}

}  // namespace

TEST_CASE("moves by what the levels choose") {
  test::failures list;
  try_moves<automatic>(list);
}
TEST_CASE("moves by one algorithm inside, another across") {
  test::failures list;
  try_moves<hierarchical<ring, tree>>(list);
  try_moves<hierarchical<tree, ring>>(list);
  try_moves<hierarchical<direct, allfold::in_rank_order>>(list);
}

TEST_CASE("a long broadcast is in many pieces") {
  test::failures list;
  random_bits random{3};
  for (const test::shape its : {test::shape{2, 2}, {3, 2}, {2, 3}, {1, 4}, {4, 1}}) {
    test::current_shape = its;
    const int ranks = its.nodes * its.lanes;
    for (int root = 0; root < ranks; ++root)
      for (const bool in_place : {false, true})
        carry_out({test::broadcast_job(test::broadcast_by<automatic, float>(), ranks, 10'001, root,
                                       in_place, random)},
                  ranks, list);
  }
  test::current_shape.reset();
  CHECK_NONE(list);
}

TEST_CASE("a barrier lets nobody go before all have come") {
  for (const test::shape its : {test::shape{1, 1}, {1, 3}, {3, 1}, {2, 2}, {3, 3}}) {
    test::current_shape = its;
    const int ranks = its.nodes * its.lanes;
    std::atomic<int> come{0};
    std::atomic<int> early{0};
    test::run_world(ranks, [&](test::world& mine) {
      random_bits random{static_cast<std::uint64_t>(mine.rank())};
      for (int round = 1; round <= 200; ++round) {
        for (std::uint64_t i = random.below(20); i > 0; --i) std::this_thread::yield();
        ++come;
        allfold::barrier(mine);
        if (come.load() < round * ranks) ++early;
        allfold::barrier<hierarchical<direct, tree>>(mine);
      }
    });
    CHECK(early == 0);
  }
  test::current_shape.reset();
}
