// The collectives that only move elements, on blocks of every shape and with every element type.
#include <allfold/collective/barrier.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/dissemination.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "shapes.hpp"
#include "support/moving.hpp"

namespace {

using test::job;
using test::random_bits;
using test::shape;

int any_root(const shape& on, random_bits& random) {
  return static_cast<int>(random.below(static_cast<std::uint64_t>(on.ranks)));
}

/// Jobs of a collective for a shape, in place or not, of about so many elements a rank.
template <class Algorithm, class T>
struct jobs_of {
  const shape& on;
  random_bits& random;

  job broadcast(std::size_t n, bool in_place) {
    return broadcast_job(test::broadcast_by<Algorithm, T>(), on.ranks, n, any_root(on, random),
                         in_place, random);
  }
  job all_gather(std::size_t n, bool in_place, const std::vector<std::size_t>& counts = {}) {
    return all_gather_job(test::all_gather_by<Algorithm, T>(), on.ranks, n, counts, in_place,
                          random);
  }
  job scatter(std::size_t n, bool in_place, const std::vector<std::size_t>& counts = {}) {
    return scatter_job(test::scatter_by<Algorithm, T>(), on.ranks, n, counts, any_root(on, random),
                       in_place, random);
  }
  job gather(std::size_t n, bool in_place, const std::vector<std::size_t>& counts = {}) {
    return gather_job(test::gather_by<Algorithm, T>(), on.ranks, n, counts, any_root(on, random),
                      in_place, random);
  }
  job all_to_all(std::size_t n, bool in_place) {
    return all_to_all_job(test::all_to_all_by<Algorithm, T>(), on.ranks, n, in_place, random);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("broadcast on blocks", algorithm, allfold::direct, allfold::ring,
                   allfold::tree) {
  test::failures list;
  random_bits random{1};
  for (const shape& on : test::shapes) {
    jobs_of<algorithm, float> make{on, random};
    std::vector<job> jobs;
    for (const std::size_t n : {0u, 5u, 1009u})
      jobs.push_back(make.broadcast(n, random.below(2) == 0));
    carry_out(jobs, on, list);
  }
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("all_gather on blocks", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  random_bits random{2};
  for (const shape& on : test::shapes) {
    jobs_of<algorithm, float> make{on, random};
    std::vector<job> jobs{make.all_gather(67, true), make.all_gather(67, false)};
    const auto counts = test::awkward_counts_per_rank(on.ranks, random);
    for (std::size_t i = random.below(2); i < counts.size(); i += 2)
      jobs.push_back(make.all_gather(0, random.below(2) == 0, counts[i]));
    carry_out(jobs, on, list);
  }
  CHECK_NONE(list);
}

TEST_CASE("scatter and gather on blocks") {
  test::failures list;
  random_bits random{3};
  for (const shape& on : test::shapes) {
    jobs_of<allfold::direct, float> make{on, random};
    const bool in_place = random.below(2) == 0;
    std::vector<job> jobs{make.scatter(67, in_place), make.gather(67, !in_place)};
    for (const auto& counts : test::awkward_counts_per_rank(on.ranks, random)) {
      if (random.below(2) == 0) jobs.push_back(make.scatter(0, random.below(2) == 0, counts));
      if (random.below(2) == 0) jobs.push_back(make.gather(0, random.below(2) == 0, counts));
    }
    carry_out(jobs, on, list);
  }
  CHECK_NONE(list);
}

TEST_CASE("all_to_all on blocks") {
  test::failures list;
  random_bits random{4};
  for (const shape& on : test::shapes) {
    jobs_of<allfold::direct, float> make{on, random};
    carry_out({make.all_to_all(1, true), make.all_to_all(2, false), make.all_to_all(67, true),
               make.all_to_all(67, false)},
              on, list);
  }
  CHECK_NONE(list);
}

TEST_CASE("every type is moved on blocks") {
  using broadcasts = test::types<allfold::ring, allfold::direct, allfold::tree>;
  using all_gathers = test::types<allfold::direct, allfold::ring>;
  test::failures list;
  random_bits random{5};
  test::shapes_in_turn shapes;
  test::for_each_numbered(test::tested_types{}, [&](auto element, auto number) {
    using T = typename decltype(element)::of;
    const shape& on = shapes.next();
    std::vector<job> jobs;
    // Elements are moved by their size alone, whatever they are; so two of five kinds each.
    const auto add = [&]<std::size_t Kind>(std::integral_constant<std::size_t, Kind>) {
      jobs_of<test::picked<number, broadcasts>, T> broadcast{on, random};
      jobs_of<test::picked<number, all_gathers>, T> all_gather{on, random};
      jobs_of<allfold::direct, T> direct{on, random};
      for (const bool in_place : {false, true}) {
        if constexpr (Kind % 5 == 0) jobs.push_back(broadcast.broadcast(211, in_place));
        if constexpr (Kind % 5 == 1) jobs.push_back(all_gather.all_gather(53, in_place));
        if constexpr (Kind % 5 == 2) jobs.push_back(direct.scatter(53, in_place));
        if constexpr (Kind % 5 == 3) jobs.push_back(direct.gather(53, in_place));
        if constexpr (Kind % 5 == 4) jobs.push_back(direct.all_to_all(53, in_place));
      }
    };
    add(std::integral_constant<std::size_t, number>{});
    add(std::integral_constant<std::size_t, number + 2>{});
    carry_out(jobs, on, list);
  });
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("nobody leaves a barrier on blocks before all have entered", algorithm,
                   allfold::direct, allfold::dissemination) {
  constexpr std::size_t rounds = 8;
  test::failures list;
  for (const shape& on : test::shapes) {
    if (on.is_slow() && on.blocks.threads == 32) continue;
    std::vector<std::atomic<int>> entered(rounds);
    std::vector<std::size_t> told(static_cast<std::size_t>(on.ranks));  // ordered by barriers alone
    test::current_grid = on.blocks;
    test::run_world(on.ranks, [&](test::world& world) {
      const auto rank = static_cast<std::size_t>(world.rank());
      random_bits random{rank};
      for (std::size_t round = 0; round < rounds; ++round) {
        for (auto pauses = random.below(20); pauses > 10; --pauses) std::this_thread::yield();
        told[rank] = round;
        entered[round].fetch_add(1, std::memory_order_relaxed);
        allfold::barrier<algorithm>(world);
        if (entered[round].load(std::memory_order_relaxed) != on.ranks)
          list.add("rank " + std::to_string(rank) + " has left before all have entered");
        for (const std::size_t each : told)
          if (each != round)
            list.add("rank " + std::to_string(rank) + " does not see what was written before");
        allfold::barrier<algorithm>(world);
      }
    });
  }
  CHECK_NONE(list);
}
