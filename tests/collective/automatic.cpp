// Calls that name no algorithm take `automatic`, which all collectives have.
#include <allfold/collective/barrier.hpp>
#include <allfold/schedule/automatic.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"
#include "support/moving.hpp"

namespace {

using automatic = allfold::automatic;
using elements = test::types<float, test::pack3>;

}  // namespace

TEST_CASE("automatic folds like its schedule says") {
  test::failures list;
  test::try_all_reduce_of<automatic, allfold::sum>(elements{}, list);
  test::try_reduce_of<automatic, allfold::sum>(elements{}, list);
  test::try_reduce_scatter_of<automatic, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE("automatic moves what it should") {
  test::failures list;
  test::random_bits random{1};
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
      std::vector<test::job> jobs;
      for (const std::size_t n : {0u, 1u, 17u, 211u})
        for (const bool in_place : {false, true}) {
          const int root = static_cast<int>(random.below(static_cast<std::uint64_t>(ranks)));
          const auto counts = test::awkward_counts_per_rank(ranks, random).back();
          jobs.push_back(test::broadcast_job(test::broadcast_by<automatic, T>(), ranks, n, root,
                                             in_place, random));
          for (const auto& by : {std::vector<std::size_t>{}, counts}) {
            jobs.push_back(test::all_gather_job(test::all_gather_by<automatic, T>(), ranks, n, by,
                                                in_place, random));
            jobs.push_back(test::scatter_job(test::scatter_by<automatic, T>(), ranks, n, by, root,
                                             in_place, random));
            jobs.push_back(test::gather_job(test::gather_by<automatic, T>(), ranks, n, by, root,
                                            in_place, random));
          }
          jobs.push_back(test::all_to_all_job(test::all_to_all_by<automatic, T>(), ranks, n,
                                              in_place, random));
        }
      carry_out(jobs, ranks, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE("automatic is what a call takes that names no algorithm and no operation") {
  test::failures list;
  allfold::spawn(3, [&](auto& world) {
    const auto rank = static_cast<std::size_t>(world.rank());
    const auto mine = static_cast<int>(rank) + 1;
    const auto expect = [&](const std::vector<int>& found, const std::vector<int>& expected,
                            const char* what) {
      if (found != expected) list.add(std::string{what} + " on rank " + std::to_string(rank));
    };
    std::vector<int> one{mine, 10 * mine}, other(2), three(3), six(6);
    allfold::all_reduce(world, one, other);
    expect(other, {6, 60}, "all_reduce out of place");
    allfold::all_reduce(world, other);
    expect(other, {18, 180}, "all_reduce in place");
    allfold::reduce(world, one, other);
    expect(other, rank == 0 ? std::vector{6, 60} : std::vector{18, 180}, "reduce out of place");
    allfold::reduce(world, other);
    expect(other, rank == 0 ? std::vector{42, 420} : std::vector{18, 180}, "reduce in place");
    allfold::broadcast(world, one, other);
    expect(other, {1, 10}, "broadcast out of place");
    other = one;
    allfold::broadcast(world, other);
    expect(other, {1, 10}, "broadcast in place");
    allfold::all_gather(world, one, six);
    expect(six, {1, 10, 2, 20, 3, 30}, "all_gather out of place");
    allfold::all_gather(world, six);
    expect(six, {1, 10, 2, 20, 3, 30}, "all_gather in place");
    allfold::reduce_scatter(world, six, other);
    const std::vector sixfold{3, 30, 6, 60, 9, 90};
    expect(other, {sixfold[2 * rank], sixfold[2 * rank + 1]}, "reduce_scatter out of place");
    allfold::scatter(world, six, other);
    expect(other, one, "scatter");
    allfold::gather(world, other, six);
    expect(six, {1, 10, 2, 20, 3, 30}, "gather");
    for (int& each : three) each = mine;
    allfold::all_to_all(world, std::vector{three}, three);
    expect(three, {1, 2, 3}, "all_to_all out of place");
    allfold::all_to_all(world, three);
    expect(three, std::vector<int>(3, mine), "all_to_all in place");
    allfold::barrier(world);
  });
  CHECK_NONE(list);
}
