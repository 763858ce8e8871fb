// Calls that name no algorithm take `automatic`, which all collectives have.
#include <allfold/collective/barrier.hpp>
#include <allfold/launch/spawn.hpp>
#include <allfold/schedule/automatic.hpp>
#include <allfold/schedule/ring.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <thread>

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

namespace {

/// Takes another algorithm for each size, also one whose root is a rank that may not be there.
struct by_size : allfold::direct_tuning {
  using all_reduce = allfold::rules<allfold::rule<allfold::tree, allfold::when{.to = 40}>,
                                    allfold::rule<allfold::primary<2>, allfold::when{.to = 400}>,
                                    allfold::rule<allfold::ring>>;
  using all_gather =
      allfold::rules<allfold::rule<allfold::ring, allfold::when{.ranks = 3, .from = 100}>,
                     allfold::rule<allfold::direct>>;
};
using tuned = allfold::tuned<by_size>;

}  // namespace

TEST_CASE("a table of one's own") {
  for (int ranks = 3; ranks <= 5; ++ranks)
    for (const std::size_t count : {1u, 10u, 11u, 100u, 101u, 5000u}) {
      CAPTURE(ranks);
      CAPTURE(count);
      std::vector<char> right(static_cast<std::size_t>(ranks), false);
      allfold::spawn(ranks, [&](auto& world) {
        std::vector<float> data(count, static_cast<float>(world.rank() + 1));
        allfold::all_reduce<tuned>(world, data);
        std::vector<int> all(count * static_cast<std::size_t>(ranks)), counted(all.size());
        const std::vector<int> mine(count, world.rank());
        allfold::all_gather<tuned>(world, mine, all);
        const std::vector<std::size_t> counts(static_cast<std::size_t>(ranks), count);
        allfold::all_gather<tuned>(world, mine, counted, std::span<const std::size_t>{counts});
        bool good = all == counted;
        for (const float each : data)
          good = good && each == static_cast<float>(ranks * (ranks + 1) / 2);
        for (std::size_t i = 0; i < all.size(); ++i)
          good = good && all[i] == static_cast<int>(i / count);
        right[static_cast<std::size_t>(world.rank())] = good;
      });
      CHECK(std::count(right.begin(), right.end(), true) == ranks);
    }
}

TEST_CASE("a table whose root is not there is refused by name") {
  allfold::spawn(2, [&](auto& world) {
    std::vector<float> data(100);
    try {
      allfold::all_reduce<tuned>(world, data);
      FAIL("nothing was thrown");
    } catch (const allfold::usage_error& error) {
      CHECK(std::string{error.what()}.find("there is no rank 2") != std::string::npos);
    }
  });
}

TEST_CASE("automatic gives the bits of direct at every size, with more ranks than cores or fewer") {
  test::random_bits random{7};
  for (const bool crowded : {false, true})
    for (const int ranks : {2, 3, 4})
      for (const std::size_t count : {500u, 512u, 1000u, 4096u, 4097u, 20000u}) {
        CAPTURE(crowded);
        CAPTURE(ranks);
        CAPTURE(count);
        std::vector<std::vector<float>> one, other;
        for (int rank = 0; rank < ranks; ++rank) {
          one.emplace_back(count);
          for (float& each : one.back())
            each = static_cast<float>(random.below(1u << 24)) / 4096.0f - 1000.0f;
        }
        other = one;
        const auto team = std::make_shared<allfold::threads::team>(
            ranks, allfold::threads::team_options{.crowded = crowded});
        std::vector<std::thread> threads;
        for (int rank = 0; rank < ranks; ++rank)
          threads.emplace_back([&, rank] {
            allfold::threads::communicator world{team, rank};
            allfold::all_reduce(world, one[static_cast<std::size_t>(rank)]);
            allfold::all_reduce<allfold::direct>(world, other[static_cast<std::size_t>(rank)]);
          });
        for (std::thread& each : threads) each.join();
        CHECK(one == other);
      }
}

TEST_CASE("a long broadcast with more ranks than cores") {
  const int ranks = 2 * allfold::usable_cores() + 1;
  constexpr std::size_t count = 200'000;
  std::vector<char> right(static_cast<std::size_t>(ranks), false);
  allfold::spawn(ranks, [&](auto& world) {
    std::vector<std::uint32_t> data(count, static_cast<std::uint32_t>(world.rank()));
    for (std::size_t i = 0; world.rank() == 1 && i < count; ++i)
      data[i] = static_cast<std::uint32_t>(i * 2654435761u);
    allfold::broadcast(world, data, 1);
    bool good = true;
    for (std::size_t i = 0; i < count; ++i)
      good = good && data[i] == static_cast<std::uint32_t>(i * 2654435761u);
    right[static_cast<std::size_t>(world.rank())] = good;
  });
  CHECK(std::count(right.begin(), right.end(), true) == ranks);
}
