// Ranks that are threads go on after a failure.
#include <allfold/allfold.hpp>

#include "outcome.hpp"
#include "support/exact_calls.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using allfold::direct;
using allfold::halving_doubling;
using allfold::ring;
using allfold::tree;
using clock_type = std::chrono::steady_clock;
using world_type = allfold::threads::communicator;
using allfold::host::shrink_options;
using allfold::host::survival;

/// What counts as soon: far below `patient`, far above what a busy machine needs.
constexpr std::chrono::seconds soon{20};

/// What has become of a rank.
struct fate {
  int before = -1, rank = -1, size = -1;  ///< −1: it did not go on
  std::vector<int> others;                ///< the ranks before of those that it goes on with
  outcome failed, later;
};

/// Notes who goes on with whom, and has them call everything.
void settle(world_type& world, fate& mine, unsigned round = 0) {
  mine.rank = world.rank();
  mine.size = world.size();
  mine.others = world.gather(mine.before);
  mine.later = attempt([&] { test::require_exact_calls(world, round); });
}

/// All but `missing` go on together in their old order.
void check_fates(const std::vector<fate>& all, const std::vector<int>& missing) {
  std::vector<int> left;
  for (const fate& each : all) {
    const bool is_left = std::find(missing.begin(), missing.end(), each.before) == missing.end();
    if (is_left) left.push_back(each.before);
    CHECK((each.rank >= 0) == is_left);
  }
  for (std::size_t place = 0; place < left.size(); ++place) {
    const fate& its = all[at(left[place])];
    CAPTURE(its.before);
    CAPTURE(its.failed.text);
    CHECK(its.rank == static_cast<int>(place));
    CHECK(its.size == static_cast<int>(left.size()));
    CHECK(its.others == left);
    CHECK_MESSAGE(its.later.how == ending::returned, its.later.text);
  }
}

/// All ranks call something over and over; then `happens` on the culprit, and the others go on.
template <class Call>
std::vector<fate> run_without(int size, int culprit, Call call,
                              const std::function<void(world_type&)>& happens) {
  std::vector<fate> all(at(size));
  const auto begin = clock_type::now();
  allfold::try_spawn(size,
                     [&](world_type& world) {
                       fate& mine = all[at(world.rank())];
                       mine.before = world.rank();
                       mine.failed = attempt([&] {
                         for (int i = 0; i < 3; ++i) call(world);
                         if (world.rank() == culprit) happens(world);
                         if (world.rank() == culprit) return;
                         for (;;) call(world);
                       });
                       if (world.rank() == culprit) {
                         if (mine.failed.told()) throw std::runtime_error{mine.failed.text};
                         return;
                       }
                       world = world.shrink();
                       settle(world, mine);
                     },
                     {.timeout = patient});
  CHECK(clock_type::now() - begin < soon);
  return all;
}

template <class Algorithm>
void all_reduce_some(world_type& world) {
  std::vector<float> data(5000, 1.0f);
  allfold::all_reduce<Algorithm>(world, data);
}

template <class Call>
void check_every_loss(Call call) {
  for (int size = 2; size <= 5; ++size)
    for (int culprit = 0; culprit < size; ++culprit) {
      CAPTURE(size);
      CAPTURE(culprit);
      check_fates(run_without(size, culprit, call, [](world_type&) {}), {culprit});
      check_fates(run_without(size, culprit, call,
                              [](world_type&) { throw std::runtime_error{"out of memory"}; }),
                  {culprit});
    }
}

/// Every rank shrinks at once, and those that do not `stay` leave before.
std::vector<fate> shrink_all(int size, const std::function<bool(int)>& stays,
                             shrink_options how = {}) {
  std::vector<fate> all(at(size));
  allfold::spawn(size,
                 [&](world_type& world) {
                   fate& mine = all[at(world.rank())];
                   mine.before = world.rank();
                   if (!stays(world.rank())) return;
                   world = world.shrink(how);
                   settle(world, mine);
                 },
                 {.timeout = patient});
  return all;
}

}  // namespace

TEST_CASE("a rank returns or throws, and the others go on, whatever they were calling") {
  check_every_loss([](world_type& world) { all_reduce_some<direct>(world); });
  check_every_loss([](world_type& world) { all_reduce_some<ring>(world); });
  check_every_loss([](world_type& world) { all_reduce_some<tree>(world); });
  check_every_loss([](world_type& world) { all_reduce_some<halving_doubling>(world); });
  check_every_loss([](world_type& world) { all_reduce_some<allfold::primary<>>(world); });
  check_every_loss([](world_type& world) { allfold::barrier(world); });
  check_every_loss([](world_type& world) {
    std::vector<int> data(3, 1);
    allfold::all_reduce(world, data);
  });
  check_every_loss([](world_type& world) {
    std::vector<int> data(3000, 1);
    allfold::broadcast<tree>(world, data, world.size() - 1);
  });
}

TEST_CASE("if nobody is lost the same ranks go on") {
  for (int size = 1; size <= 5; ++size) check_fates(shrink_all(size, [](int) { return true; }), {});
}

TEST_CASE("several ranks are lost at once, down to a single one that is left") {
  for (int size = 2; size <= 5; ++size)
    for (unsigned stay = 1; stay < 1u << size; ++stay) {
      std::vector<int> missing;
      for (int rank = 0; rank < size; ++rank)
        if ((stay >> rank) % 2 == 0) missing.push_back(rank);
      CAPTURE(stay);
      check_fates(shrink_all(size, [&](int rank) { return (stay >> rank) % 2 == 1; }), missing);
    }
}

TEST_CASE("many more ranks than cores") {
  std::vector<int> missing;
  for (int rank = 0; rank < 40; rank += 3) missing.push_back(rank);
  check_fates(shrink_all(40, [](int rank) { return rank % 3 != 0; }), missing);
}

TEST_CASE("a failure in which all ranks live costs none of them") {
  const auto recover = [](const std::function<void(world_type&)>& fail, ending expected,
                          std::chrono::steady_clock::duration limit = patient) {
    std::vector<fate> all(3);
    run_ranks(
        3,
        [&](world_type& world) {
          fate& mine = all[at(world.rank())];
          mine.before = world.rank();
          mine.failed = attempt([&] {
            fail(world);
            allfold::barrier(world);
            allfold::barrier(world);
          });
          world = world.shrink({.timeout = patient});
          settle(world, mine);
        },
        limit);
    for (const fate& each : all) CHECK_MESSAGE(each.failed.how == expected, each.failed.text);
    check_fates(all, {});
  };
  recover(
      [](world_type& world) {
        std::vector<int> data(world.rank() == 1 ? 7 : 8);
        allfold::all_reduce(world, data);
      },
      ending::mismatch);
  recover(
      [](world_type& world) {
        if (world.rank() == 2) world.abort("not so");
      },
      ending::usage);
  recover(
      [](world_type& world) {
        if (world.rank() == 0) std::this_thread::sleep_for(300ms);
      },
      ending::timeout, 50ms);
}

TEST_CASE("who has heard of no failure is told by who goes on") {
  std::vector<fate> all(3);
  run_ranks(3, [&](world_type& world) {
    fate& mine = all[at(world.rank())];
    mine.before = world.rank();
    if (world.rank() != 1)
      mine.failed = attempt([&] {
        for (;;) all_reduce_some<ring>(world);
      });
    world = world.shrink();
    settle(world, mine);
  });
  check_fates(all, {});
  for (const int rank : {0, 2}) {
    CHECK(all[at(rank)].failed.how == ending::usage);
    CHECK(all[at(rank)].failed.says(
        "rank 1 goes on with those that are left, shrink at shrink.cpp:"));
  }
}

TEST_CASE("a rank that comes too late is out, and is told by whom") {
  for (int late = 0; late < 4; ++late) {
    std::vector<fate> all(4);
    std::atomic<int> settled{0};
    run_ranks(4, [&](world_type& world) {
      fate& mine = all[at(world.rank())];
      mine.before = world.rank();
      if (world.rank() == late) {
        while (settled < 3) std::this_thread::sleep_for(1ms);
        for (int i = 0; i < 2; ++i) {  // the second time as well
          mine.failed = attempt([&] { world = world.shrink({.timeout = 100ms}); });
          CAPTURE(mine.failed.text);
          if (mine.failed.how != ending::lost ||
              !mine.failed.says("excluded by " + rank_name(late == 0 ? 1 : 0)))
            throw std::logic_error{"not told: " + mine.failed.text};
        }
        return;
      }
      world = world.shrink({.timeout = 100ms});
      settle(world, mine);
      ++settled;
    });
    CAPTURE(late);
    check_fates(all, {late});
    CHECK(all[at(late)].failed.says("allfold: " + rank_name(late) + ", shrink at shrink.cpp:"));
    const char* const who[] = {"1, 2 and 3", "0, 2 and 3", "0, 1 and 3", "0, 1 and 2"};
    CHECK(all[at(late)].failed.says("ranks " + std::string{who[late]} + " go on without it"));
  }
}

TEST_CASE("a time limit that is not given is the communicator's") {
  std::vector<fate> all(2);
  const auto begin = clock_type::now();
  clock_type::duration taken{};
  run_ranks(
      2,
      [&](world_type& world) {
        fate& mine = all[at(world.rank())];
        mine.before = world.rank();
        if (world.rank() == 1) {
          std::this_thread::sleep_for(2s);
          mine.failed = attempt([&] { world.shrink(); });
          return;
        }
        world = world.shrink();
        taken = clock_type::now() - begin;
        settle(world, mine);
      },
      300ms);
  check_fates(all, {1});
  CHECK(taken >= 300ms);
  CHECK(taken < 2s);
  CHECK(all[1].failed.says("excluded by rank 0"));
}

TEST_CASE("one failure after the other, until one rank is alone") {
  constexpr int size = 5;
  std::vector<int> seen(size);
  const auto ends = run_ranks(size, [&](world_type& world) {
    const int before = world.rank();
    for (int round = 0; round < size; ++round) {
      if (world.size() != size - round) throw std::logic_error{"a wrong size"};
      seen[at(before)] = round + 1;
      const outcome failed = attempt([&] {
        test::require_exact_calls(world, static_cast<unsigned>(round));
        if (world.rank() == round % world.size()) throw std::domain_error{"enough"};
        for (;;) all_reduce_some<ring>(world);
      });
      if (failed.text == "enough") return;
      if (failed.how == ending::other) throw std::logic_error{failed.text};
      world = world.shrink();
    }
  });
  for (const outcome& each : ends) CHECK_MESSAGE(each.how == ending::returned, each.text);
  int total = 0;
  for (const int rounds : seen) total += rounds;
  CHECK(total == 5 + 4 + 3 + 2 + 1);
}

TEST_CASE("those that have shrunk shrink again though nothing has failed") {
  run_ranks(3, [](world_type& world) {
    for (unsigned i = 0; i < 50; ++i) {
      world = world.shrink();
      if (world.size() != 3) throw std::logic_error{"a wrong size"};
      test::exact_calls<world_type>{world, 100, i}.all_reduce<ring>();
    }
  });
}

TEST_CASE("a communicator is shrunk once") {
  std::vector<outcome> told(2), after(2);
  run_ranks(2, [&](world_type& world) {
    const int rank = world.rank();
    world_type next = world.shrink();
    told[at(rank)] = attempt([&] { world.shrink(); });
    after[at(rank)] = attempt([&] { allfold::barrier(world); });
    test::require_exact_calls(next);
  });
  for (int rank = 0; rank < 2; ++rank) {
    CHECK(told[at(rank)].how == ending::usage);
    CHECK(told[at(rank)].says("this communicator was shrunk before"));
    CHECK(after[at(rank)].how == ending::usage);
  }
}

TEST_CASE("a team of some of the ranks shrinks by itself") {
  std::vector<outcome> in_world(6);
  std::vector<int> sizes(6);
  run_ranks(6, [&](world_type& world) {
    world_type team = world.split(world.rank() % 2, -world.rank());
    if (world.rank() == 2) {
      const world_type gone = std::move(team);
    } else {
      attempt([&] { allfold::barrier(team); });
      if (world.rank() % 2 == 0) team = team.shrink();
      test::require_exact_calls(team);
      sizes[at(world.rank())] = team.size();
      world_type other = team.companion();
      test::require_exact_calls(other);
    }
    in_world[at(world.rank())] = attempt([&] { test::require_exact_calls(world); });
  });
  CHECK(sizes == std::vector<int>{2, 3, 0, 3, 2, 3});
  for (const outcome& each : in_world) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("options are kept, and ranks that have a core each now need not yield") {
  run_ranks(
      allfold::usable_cores() + 1,
      [](world_type& world) {
        if (world.size() > 1 && world.rank() == 0) return;
        if (!world.crowded()) throw std::logic_error{"not crowded"};
        const world_type next = world.shrink();
        if (next.crowded()) throw std::logic_error{"crowded"};
        if (next.shared()->options().timeout != 12345ms) throw std::logic_error{"another limit"};
      },
      12345ms);
}

TEST_CASE("if the rank that is to decide does not, another one does") {
  // Rank 0 has claimed its place and does nothing: it is not waited for to decide, and when it does
  // not come to the new team either the others leave it out.
  std::vector<fate> all(4);
  std::atomic<int> settled{0};
  run_ranks(4, [&](world_type& world) {
    fate& mine = all[at(world.rank())];
    mine.before = world.rank();
    if (world.rank() == 0) {
      world.shared()->of(0).survives.store(survival::claimed);
      while (settled < 3) std::this_thread::sleep_for(1ms);
      return;
    }
    while (world.shared()->of(0).survives.load() == survival::not_asked) std::this_thread::yield();
    world = world.shrink({.timeout = 500ms});
    settle(world, mine);
    ++settled;
  });
  check_fates(all, {0});
}

TEST_CASE("a rank that ends after all have agreed is left out before anybody goes on") {
  for (int culprit = 0; culprit < 4; ++culprit) {
    std::vector<fate> all(4);
    run_ranks(4, [&](world_type& world) {
      fate& mine = all[at(world.rank())];
      mine.before = world.rank();
      if (world.rank() == culprit) {
        const auto left =
            allfold::host::succession{*world.shared(), culprit, {}, std::source_location::current()}
                .agree();
        if (left.size() != 4) throw std::logic_error{"not all"};
        // It takes its place in the new team, and leaves.
        const world_type gone{world.shared()->successor(culprit, {}), culprit};
        return;
      }
      world = world.shrink();
      settle(world, mine);
    });
    CAPTURE(culprit);
    check_fates(all, {culprit});
  }
}

TEST_CASE("a rank without memory for a team leaves it to another") {
  std::vector<fate> all(3);
  run_ranks(3, [&](world_type& world) {
    fate& mine = all[at(world.rank())];
    mine.before = world.rank();
    if (world.rank() == 0) {  // as succession does when Team::propose throws
      world.shared()->of(0).survives.store(survival::given_up);
      while (world.shared()->decider() < 0) std::this_thread::yield();
      mine.failed = attempt([&] { world.shrink(); });
      return;
    }
    world = world.shrink();
    settle(world, mine);
  });
  check_fates(all, {0});
  CHECK(all[0].failed.says("excluded by rank 1"));
}

TEST_CASE("ranks that are lost at any moment") {
  std::mt19937 random{7};
  for (int round = 0; round < 60; ++round) {
    const int size = 2 + static_cast<int>(random() % 4);
    std::vector<int> calls_before(at(size)), lost_before(at(size));
    for (int rank = 1; rank < size; ++rank) {  // of each rank, when it leaves
      calls_before[at(rank)] = static_cast<int>(random() % 40);
      lost_before[at(rank)] = static_cast<int>(random() % static_cast<unsigned>(rank));
    }
    const auto all = run_ranks(size, [&](world_type& world) {
      const int before = world.rank();
      const std::size_t me = at(before);
      while (world.size() > 1) {
        const outcome failed = attempt([&] {
          for (int call = 0;; ++call) {
            if (before > 0 && size - world.size() >= lost_before[me] && call >= calls_before[me])
              throw std::domain_error{"enough"};
            test::exact_calls<world_type>{world, 500, static_cast<unsigned>(call)}
                .all_reduce<ring>();
          }
        });
        if (failed.how == ending::other) throw std::domain_error{failed.text};
        world = world.shrink();
      }
      test::require_exact_calls(world);
    });
    CHECK_MESSAGE(all[0].how == ending::returned, all[0].text);
    for (int rank = 1; rank < size; ++rank)
      CHECK_MESSAGE((all[at(rank)].text == "enough" || all[at(rank)].how == ending::returned),
                    all[at(rank)].text);
  }
}
