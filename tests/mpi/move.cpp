// The collectives that only move elements, over MPI.
#include <allfold/collective/barrier.hpp>
#include <allfold/schedule/native.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <utility>

#include "support/moving.hpp"

namespace {

using allfold::native;
using test::job;
using test::random_bits;

template <class T>
void add_moves(std::size_t share, int root, bool in_place, random_bits& random,
               std::vector<job>& jobs) {
  const int ranks = test::processes();
  jobs.push_back(
      test::broadcast_job(test::broadcast_by<native, T>(), ranks, share, root, in_place, random));
  jobs.push_back(
      test::all_gather_job(test::all_gather_by<native, T>(), ranks, share, {}, in_place, random));
  jobs.push_back(
      test::scatter_job(test::scatter_by<native, T>(), ranks, share, {}, root, in_place, random));
  jobs.push_back(
      test::gather_job(test::gather_by<native, T>(), ranks, share, {}, root, in_place, random));
  jobs.push_back(
      test::all_to_all_job(test::all_to_all_by<native, T>(), ranks, share, in_place, random));
}
template <class T>
void add_moves_by_counts(const std::vector<std::size_t>& counts, int root, bool in_place,
                         random_bits& random, std::vector<job>& jobs) {
  const int ranks = test::processes();
  jobs.push_back(
      test::all_gather_job(test::all_gather_by<native, T>(), ranks, 0, counts, in_place, random));
  jobs.push_back(
      test::scatter_job(test::scatter_by<native, T>(), ranks, 0, counts, root, in_place, random));
  jobs.push_back(
      test::gather_job(test::gather_by<native, T>(), ranks, 0, counts, root, in_place, random));
}

}  // namespace

TEST_CASE_TEMPLATE("moves", T, std::uint8_t, double, test::pack12, test::aligned32) {
  test::failures list;
  random_bits random{1};
  const int ranks = test::processes();
  for (const bool in_place : {false, true})
    for (int turn = 0; turn < 3; ++turn) {  // in one call of MPI, in pieces, without comparing
      std::vector<job> jobs;
      const int root = static_cast<int>(random.below(static_cast<std::uint64_t>(ranks)));
      for (const std::size_t share : {0u, 1u, 3u, 17u, 211u})
        add_moves<T>(share, root, in_place, random, jobs);
      for (const auto& counts : test::awkward_counts_per_rank(ranks, random))
        add_moves_by_counts<T>(counts, root, in_place, random, jobs);
      carry_out(jobs, ranks, list);
    }
  CHECK_NONE(list);
}

TEST_CASE("long moves, between ranks that come at different times") {
  test::failures list;
  random_bits random{2};
  std::vector<job> jobs;
  for (const bool in_place : {false, true})
    add_moves<test::pack12>(60'001, test::processes() - 1, in_place, random, jobs);
  const std::size_t usual = std::exchange(test::longest_piece, 100'000);
  for (int turn = 0; turn < 3; ++turn) carry_out(jobs, test::processes(), list, 7);
  test::longest_piece = usual;
  CHECK_NONE(list);
}

TEST_CASE("nobody leaves a barrier before all have come") {
  for (const bool compares : {true, false}) {
    test::world world{MPI_COMM_WORLD, {.compare_calls = compares}};
    using clock = std::chrono::steady_clock;
    const auto late = std::chrono::milliseconds{60};
    for (int last = 0; last < world.size(); ++last) {
      allfold::barrier(world);
      const auto begin = clock::now();
      if (world.rank() == last) std::this_thread::sleep_for(late);
      allfold::barrier(world);
      CHECK(clock::now() - begin > late / 2);
    }
  }
}
