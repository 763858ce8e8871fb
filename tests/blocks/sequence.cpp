// Hundreds of collectives in a row on blocks: counters, posts and slots are used again and again,
// by ranks that run at different speeds.
#include <allfold/collective/barrier.hpp>
#include <allfold/schedule/dissemination.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "shapes.hpp"
#include "support/folding.hpp"
#include "support/moving.hpp"

namespace {

using test::job;
using test::random_bits;

template <class Algorithm>
job barrier_job(int ranks) {
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

/// One of thirteen kinds of calls.
job any_job(int ranks, std::size_t count, random_bits& random) {
  using allfold::sum;
  const bool in_place = random.below(2) == 0;
  const int root = static_cast<int>(random.below(static_cast<std::uint64_t>(ranks)));
  const std::size_t share = count / static_cast<std::size_t>(ranks);
  std::vector<std::size_t> counts;
  for (int rank = 0; rank < ranks; ++rank)
    counts.push_back(random.below(2) * random.below(count + 1));
  const auto fold = [&](const test::folding& what) {
    return all_reduce_job(what, ranks, count, in_place, random);
  };
  switch (random.below(13)) {
    case 0:
      return fold(test::all_reduce_by<allfold::ring, float, sum>());
    case 1:
      return fold(test::all_reduce_by<allfold::tree, float, sum>());
    case 2:
      return fold(test::all_reduce_by<allfold::halving_doubling, test::pack3, sum>());
    case 3:
      return fold(test::all_reduce_by<allfold::primary<>, float, sum>());
    case 4:
      return reduce_job(test::reduce_by<allfold::ring, test::pack3, sum>(), ranks, count, root,
                        in_place, random);
    case 5:
      return reduce_scatter_job(test::reduce_scatter_by<allfold::ring, float, sum>(), ranks, share,
                                in_place, random);
    case 6:
      return broadcast_job(test::broadcast_by<allfold::tree, double>(), ranks, count, root,
                           in_place, random);
    case 7:
      return all_gather_job(test::all_gather_by<allfold::direct, double>(), ranks, 0, counts,
                            in_place, random);
    case 8:
      return gather_job(test::gather_by<allfold::direct, double>(), ranks, 0, counts, root,
                        in_place, random);
    case 9:
      return all_to_all_job(test::all_to_all_by<allfold::direct, double>(), ranks, share, in_place,
                            random);
    case 10:
      return random.below(2) == 0 ? barrier_job<allfold::direct>(ranks)
                                  : barrier_job<allfold::dissemination>(ranks);
    default:  // more often than the others: these go through slots
      return fold(test::all_reduce_by<allfold::direct, float, sum>());
  }
}

/// As many calls, some of them about nothing; most are short, so that ranks get ahead of each
/// other.
std::vector<job> any_jobs(int ranks, int length, std::uint64_t seed) {
  random_bits random{seed};
  std::vector<job> jobs;
  for (int i = 0; i < length; ++i) {
    constexpr std::size_t most[] = {3, 40, 130, 1000};
    const std::size_t count =
        random.below(8) == 0 ? 0 : random.below(most[random.below(std::size(most))] + 1);
    jobs.push_back(any_job(ranks, count, random));
  }
  return jobs;
}

}  // namespace

TEST_CASE("200 mixed collectives on blocks that stop and go") {
  test::failures list;
  std::uint64_t seed = 1;
  for (const test::shape& on :
       {test::shape{2, {3, 2}}, {3, {1, 2}}, {4, {1, 1}}, {2, {1, 1}}, {3, {3, 1}}}) {
    carry_out(any_jobs(on.ranks, 200, seed), on, list, seed);
    ++seed;
  }
  carry_out(any_jobs(4, 40, seed), {4, {32, 1}}, list, seed);
  CHECK_NONE(list);
}

TEST_CASE("the same call with the same memory again and again, others in between") {
  // What a captured graph does: nothing but the elements differs from one time to the next.
  constexpr unsigned rounds = 300, ranks = 3;
  test::failures list;
  test::current_grid = {2, 2};
  test::run_world(ranks, [&](test::world& world) {
    const auto rank = static_cast<unsigned>(world.rank());
    std::vector<unsigned> some(50), many(400), gathered(10 * ranks);
    random_bits random{1};  // the same on all ranks
    random_bits own{2 + rank};
    for (unsigned round = 0; round < rounds; ++round) {
      const auto fill = [&](std::vector<unsigned>& all) {
        for (unsigned i = 0; i < all.size(); ++i) all[i] = i * (rank + 1) + round;
      };
      const auto check = [&](const std::vector<unsigned>& all, const char* what) {
        for (unsigned i = 0; i < all.size(); ++i)
          if (all[i] != 6 * i + ranks * round)
            return list.add(std::string{what} + ", round " + std::to_string(round) + ", rank " +
                            std::to_string(rank) + ", element " + std::to_string(i));
      };
      for (auto pauses = own.below(3) == 0 ? own.below(64) : 0; pauses > 0; --pauses)
        std::this_thread::yield();
      fill(some);
      allfold::all_reduce<allfold::direct>(world, some);
      check(some, "direct");
      fill(many);
      allfold::all_reduce<allfold::ring>(world, many);
      check(many, "ring");
      if (random.below(3) == 0) allfold::barrier<allfold::direct>(world);
      if (random.below(3) == 0) {
        const std::vector<unsigned> mine(10, rank + round);
        allfold::gather<allfold::direct>(world, mine, gathered, static_cast<int>(random.below(3)));
      }
      if (random.below(3) == 0) {
        unsigned one[] = {rank == round % ranks ? round : 0};
        allfold::broadcast<allfold::ring>(world, one, static_cast<int>(round % ranks));
        if (one[0] != round) list.add("broadcast, round " + std::to_string(round));
      }
    }
  });
  CHECK_NONE(list);
}

TEST_CASE("no rank gets further ahead than its posts last") {
  // Each gather waits at its root only, and rank 7 is not there: without a limit, rank 6 could take
  // part in all of those with other roots.
  constexpr int ranks = 8, gathers = 6;
  test::failures list;
  std::atomic<int> furthest{0};
  test::current_grid = {1, 1};
  test::run_world(ranks, [&](test::world& world) {
    if (world.rank() == 7) {
      std::this_thread::sleep_for(std::chrono::milliseconds{200});
      if (furthest > static_cast<int>(test::device::window))
        list.add("a rank has done " + std::to_string(furthest) + " collectives");
    }
    for (int root = 0; root < gathers; ++root) {
      const std::vector<int> mine(3, 10 * root + world.rank());
      std::vector<int> all(3 * ranks);
      allfold::gather<allfold::direct>(world, mine, all, root);
      for (int done = root + 1, known = furthest; known < done;)
        if (furthest.compare_exchange_strong(known, done)) break;
      for (std::size_t i = 0; world.rank() == root && i < all.size(); ++i)
        if (all[i] != 10 * root + static_cast<int>(i / 3))
          list.add("gather to " + std::to_string(root));
    }
  });
  CHECK(furthest == gathers);
  CHECK_NONE(list);
}
