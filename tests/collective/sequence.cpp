// Hundreds of collectives of all kinds in a row, on ranks that run at different speeds.
#include <allfold/collective/barrier.hpp>
#include <allfold/schedule/dissemination.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "support/folding.hpp"
#include "support/moving.hpp"

namespace {

using test::job;
using test::random_bits;
using maker = std::function<job(int ranks, std::size_t count, random_bits& random)>;

bool toss(random_bits& random) { return random.below(2) == 0; }
int any_root(int ranks, random_bits& random) {
  return static_cast<int>(random.below(static_cast<std::uint64_t>(ranks)));
}
/// Counts per rank, or none: then all have as many.
std::vector<std::size_t> any_counts(int ranks, std::size_t most, random_bits& random) {
  std::vector<std::size_t> counts;
  if (toss(random)) return counts;
  for (int rank = 0; rank < ranks; ++rank)
    counts.push_back(toss(random) ? 0 : random.below(most + 1));
  return counts;
}

template <class T, class... Algorithm>
void add_folds(std::vector<maker>& all, test::types<Algorithm...>) {
  const auto add = [&](const test::folding& what) {
    all.push_back([what](int ranks, std::size_t count, random_bits& random) {
      if (what.collective == "reduce_scatter")
        return reduce_scatter_job(what, ranks, count / static_cast<std::size_t>(ranks),
                                  toss(random), random);
      const bool in_place = toss(random);
      if (what.collective == "all_reduce")
        return all_reduce_job(what, ranks, count, in_place, random);
      return reduce_job(what, ranks, count, any_root(ranks, random), in_place, random);
    });
  };
  const auto add_all = [&]<class Each>(test::type<Each>) {
    add(test::all_reduce_by<Each, T, allfold::sum>());
    if constexpr (requires { typename Each::reduce; })
      add(test::reduce_by<Each, T, allfold::sum>());
    if constexpr (requires { typename Each::reduce_scatter; })
      add(test::reduce_scatter_by<Each, T, allfold::sum>());
  };
  (add_all(test::type<Algorithm>{}), ...);
}

template <class T, class... Algorithm>
void add_moves(std::vector<maker>& all, test::types<Algorithm...>) {
  const auto add_all = [&]<class Each>(test::type<Each>) {
    all.push_back([](int ranks, std::size_t count, random_bits& random) {
      const bool in_place = toss(random);
      return broadcast_job(test::broadcast_by<Each, T>(), ranks, count, any_root(ranks, random),
                           in_place, random);
    });
    if constexpr (requires { typename Each::all_gather; })
      all.push_back([](int ranks, std::size_t count, random_bits& random) {
        return all_gather_job(test::all_gather_by<Each, T>(), ranks, count,
                              any_counts(ranks, count, random), toss(random), random);
      });
    if constexpr (requires { typename Each::all_to_all; })
      all.push_back([](int ranks, std::size_t count, random_bits& random) {
        return all_to_all_job(test::all_to_all_by<Each, T>(), ranks, count, toss(random), random);
      });
    if constexpr (requires { typename Each::scatter; }) {
      all.push_back([](int ranks, std::size_t count, random_bits& random) {
        const int root = any_root(ranks, random);
        return scatter_job(test::scatter_by<Each, T>(), ranks, count,
                           any_counts(ranks, count, random), root, toss(random), random);
      });
      all.push_back([](int ranks, std::size_t count, random_bits& random) {
        const int root = any_root(ranks, random);
        return gather_job(test::gather_by<Each, T>(), ranks, count,
                          any_counts(ranks, count, random), root, toss(random), random);
      });
    }
  };
  (add_all(test::type<Algorithm>{}), ...);
}

template <class Algorithm>
job barrier_job(int ranks, std::size_t, random_bits&) {
  job it{"barrier",
         allfold::type_name<Algorithm>(),
         {},
         &test::kind_of_element<char>,
         [](test::world& world, const test::arguments&) { allfold::barrier<Algorithm>(world); },
         0,
         0,
         false,
         {},
         {}};
  it.ranks.resize(static_cast<std::size_t>(ranks));
  return it;
}

const std::vector<maker>& makers() {
  static const std::vector<maker> all = [] {
    using folds = test::types<allfold::direct, allfold::ring, allfold::tree,
                              allfold::halving_doubling, allfold::primary<>>;
    using moves = test::types<allfold::direct, allfold::ring, allfold::tree>;
    std::vector<maker> made{barrier_job<allfold::direct>, barrier_job<allfold::dissemination>};
    add_folds<float>(made, folds{});
    add_folds<test::pack3>(made, folds{});
    add_moves<double>(made, moves{});
    return made;
  }();
  return all;
}

/// As many collectives, agreed by `seed`. Most are short, so that ranks run ahead of each other as
/// far as they may.
std::vector<job> agreed(int ranks, int length, std::uint64_t seed) {
  random_bits random{seed};
  std::vector<job> jobs;
  for (int i = 0; i < length; ++i) {
    constexpr std::size_t most[] = {3, 40, 300, 3000};
    const std::size_t count = random.below(most[random.below(4)] + 1);
    jobs.push_back(makers()[random.below(makers().size())](ranks, count, random));
  }
  return jobs;
}

/// Whether this thread's rank takes its time over every element.
thread_local bool is_slow = false;

struct slow_sum {
  unsigned operator()(unsigned a, unsigned b) const {
    if (is_slow) std::this_thread::sleep_for(std::chrono::microseconds{300});
    return a + b;
  }
};

}  // namespace

TEST_CASE("mixed collectives, one after the other") {
  CHECK(makers().size() == 2 + 2 * (5 + 4 + 2) + 3 + 2 + 1 + 2);
  test::failures list;
  for (int ranks = 1; ranks <= test::most_ranks; ++ranks)
    carry_out(agreed(ranks, 400, static_cast<std::uint64_t>(ranks)), ranks, list);
  CHECK_NONE(list);
}

TEST_CASE("mixed collectives on ranks that stop and go") {
  test::failures list;
  for (int ranks = 2; ranks <= test::most_ranks; ++ranks)
    for (const std::uint64_t seed : {11u, 12u})
      carry_out(agreed(ranks, 200, seed), ranks, list, seed);
  CHECK_NONE(list);
}

TEST_CASE("mixed collectives on many more ranks than cores") {
  test::failures list;
  for (const int ranks : {16, 33, 40}) carry_out(agreed(ranks, 60, 21), ranks, list, 21);
  CHECK_NONE(list);
}

TEST_CASE("the same collective again and again finds every slot in use again") {
  test::failures list;
  random_bits random{31};
  const auto what = test::all_reduce_by<allfold::direct, float, allfold::sum>();
  for (const int ranks : {2, 3, 7}) {
    std::vector<job> jobs;
    for (int i = 0; i < 500; ++i)
      jobs.push_back(all_reduce_job(what, ranks, 1 + random.below(20), toss(random), random));
    carry_out(jobs, ranks, list, 31);
  }
  CHECK_NONE(list);
}

TEST_CASE("a short message stays readable while a slow rank folds it") {
  // Four ranks can get four collectives ahead of the slow one: nobody waits to leave the
  // all_reduce, and each gather is held up at another root only.
  constexpr int ranks = 8, rounds = 20;
  test::failures list;
  test::run_world(ranks, [&](test::world& world) {
    const auto rank = static_cast<unsigned>(world.rank());
    for (unsigned round = 0; round < rounds; ++round) {
      is_slow = rank == 7 - round % 3;
      const std::vector<unsigned> mine(3, 100 * round + rank);
      std::vector<unsigned> sum(3), all(3 * ranks);
      allfold::all_reduce<allfold::direct>(world, mine, sum, slow_sum{});
      if (sum != std::vector<unsigned>(3, 800 * round + 28))
        list.add("round " + std::to_string(round) + ", rank " + std::to_string(rank) + ": " +
                 std::to_string(sum[0]) + ", " + std::to_string(sum[2]));
      for (int root = 0; root < 3; ++root) allfold::gather(world, mine, all, root);
    }
  });
  CHECK_NONE(list);
}
