// The collectives that only move elements, and the barrier, on ranks that share a GPU.
#include <allfold/collective/barrier.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/dissemination.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/moving.hpp"

namespace {

using elements = test::types<unsigned char, float, test::pack24>;
using test::job;

/// On 1 to 9 ranks, the jobs that `add(jobs, ranks, random)` makes for them.
template <class Add>
void try_jobs(Add add) {
  test::failures list;
  test::random_bits random{1};
  for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
    std::vector<job> jobs;
    add(jobs, ranks, random);
    carry_out(jobs, ranks, list);
  }
  CHECK_NONE(list);
}
int any_root(int ranks, test::random_bits& random) {
  return static_cast<int>(random.below(static_cast<std::uint64_t>(ranks)));
}

/// Shares of a rank: awkward ones, and enough that several blocks work.
std::vector<std::size_t> shares(int ranks, const test::element_kind& kind) {
  std::vector<std::size_t> all = test::awkward_shares(ranks, kind);
  all.push_back(100'001 / kind.size);
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("broadcast", algorithm, allfold::automatic, allfold::direct, allfold::ring,
                   allfold::tree) {
  test::for_each(elements{}, [](auto element) {
    const auto what = test::broadcast_by<algorithm, typename decltype(element)::of>();
    try_jobs([&](std::vector<job>& jobs, int ranks, test::random_bits& random) {
      for (const std::size_t count : shares(ranks, *what.kind))
        for (const bool in_place : {false, true})
          jobs.push_back(
              broadcast_job(what, ranks, count, any_root(ranks, random), in_place, random));
    });
  });
}

TEST_CASE_TEMPLATE("all_gather", algorithm, allfold::automatic, allfold::direct, allfold::ring) {
  test::for_each(elements{}, [](auto element) {
    const auto what = test::all_gather_by<algorithm, typename decltype(element)::of>();
    try_jobs([&](std::vector<job>& jobs, int ranks, test::random_bits& random) {
      for (const bool in_place : {false, true}) {
        for (const std::size_t share : shares(ranks, *what.kind))
          jobs.push_back(all_gather_job(what, ranks, share, {}, in_place, random));
        for (const auto& counts : test::awkward_counts_per_rank(ranks, random))
          jobs.push_back(all_gather_job(what, ranks, 0, counts, in_place, random));
      }
    });
  });
}

TEST_CASE("scatter and gather") {
  test::for_each(elements{}, [](auto element) {
    using T = typename decltype(element)::of;
    const auto scatter = test::scatter_by<allfold::direct, T>();
    const auto gather = test::gather_by<allfold::direct, T>();
    try_jobs([&](std::vector<job>& jobs, int ranks, test::random_bits& random) {
      const auto add = [&](std::size_t share, const std::vector<std::size_t>& counts) {
        const bool in_place = random.below(2) == 0;
        const int root = any_root(ranks, random);
        jobs.push_back(scatter_job(scatter, ranks, share, counts, root, in_place, random));
        jobs.push_back(gather_job(gather, ranks, share, counts, root, !in_place, random));
      };
      for (const std::size_t share : shares(ranks, *scatter.kind)) add(share, {});
      for (const auto& counts : test::awkward_counts_per_rank(ranks, random)) add(0, counts);
    });
  });
}

TEST_CASE("all_to_all") {
  test::for_each(elements{}, [](auto element) {
    const auto what = test::all_to_all_by<allfold::direct, typename decltype(element)::of>();
    try_jobs([&](std::vector<job>& jobs, int ranks, test::random_bits& random) {
      for (const std::size_t share : shares(ranks, *what.kind))
        for (const bool in_place : {false, true})
          jobs.push_back(all_to_all_job(what, ranks, share, in_place, random));
    });
  });
}

TEST_CASE_TEMPLATE("a barrier returns, and between others too", algorithm, allfold::direct,
                   allfold::dissemination) {
  const auto what = test::all_gather_by<allfold::ring, float>();
  test::failures list;
  test::random_bits random{2};
  for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
    const job it = all_gather_job(what, ranks, 5'000, {}, true, random);
    test::run_world(ranks, [&](test::world& world) {
      for (std::size_t round = 0; round < 20; ++round) {
        allfold::barrier<algorithm>(world);
        if (round % 5 == 0) carry_out(world, it, round, list);
      }
      world.synchronize();
    });
  }
  CHECK_NONE(list);
}
