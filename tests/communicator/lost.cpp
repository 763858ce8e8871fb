#include <allfold/allfold.hpp>

#include "outcome.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
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

/// What counts as soon: far below `patient`, far above what a busy machine needs.
constexpr std::chrono::seconds soon{20};

template <class Algorithm>
void all_reduce_some(world_type& world, std::size_t count) {
  std::vector<float> data(count, 1.0f);
  allfold::all_reduce<Algorithm>(world, data);
}

struct named_call {
  std::string name;
  std::function<void(world_type&)> call;
};

/// A call of each collective, and of all_reduce by each algorithm.
std::vector<named_call> all_calls() {
  const auto broadcast_by = []<class Algorithm>(Algorithm) {
    return [](world_type& world) {
      std::vector<float> data(100);
      allfold::broadcast<Algorithm>(world, data, world.size() - 1);
    };
  };
  const auto reduce_by = []<class Algorithm>(Algorithm) {
    return [](world_type& world) {
      std::vector<float> data(100);
      allfold::reduce<Algorithm>(world, data, world.size() / 2);
    };
  };
  return {
      {"all_reduce", [](auto& world) { all_reduce_some<allfold::automatic>(world, 10); }},
      {"all_reduce", [](auto& world) { all_reduce_some<direct>(world, 5000); }},
      {"all_reduce", [](auto& world) { all_reduce_some<ring>(world, 5000); }},
      {"all_reduce", [](auto& world) { all_reduce_some<tree>(world, 5000); }},
      {"all_reduce", [](auto& world) { all_reduce_some<halving_doubling>(world, 5000); }},
      {"all_reduce", [](auto& world) { all_reduce_some<allfold::primary<>>(world, 5000); }},
      {"broadcast", broadcast_by(direct{})},
      {"broadcast", broadcast_by(ring{})},
      {"broadcast", broadcast_by(tree{})},
      {"reduce", reduce_by(direct{})},
      {"reduce", reduce_by(ring{})},
      {"reduce", reduce_by(tree{})},
      {"reduce", reduce_by(allfold::primary<>{})},
      {"barrier", [](auto& world) { allfold::barrier(world); }},
      {"barrier", [](auto& world) { allfold::barrier<allfold::dissemination>(world); }},
      {"reduce_scatter",
       [](auto& world) {
         std::vector<float> data(100 * at(world.size()));
         allfold::reduce_scatter<ring>(world, data);
       }},
      {"all_gather",
       [](auto& world) {
         std::vector<float> data(100 * at(world.size()));
         allfold::all_gather<ring>(world, data);
       }},
      {"scatter",
       [](auto& world) {
         std::vector<float> whole(100 * at(world.size())), part(100);
         allfold::scatter(world, whole, part, world.size() / 2);
       }},
      {"gather",
       [](auto& world) {
         std::vector<float> whole(100 * at(world.size())), part(100);
         allfold::gather(world, part, whole, world.size() / 2);
       }},
      {"all_to_all",
       [](auto& world) {
         std::vector<float> data(100 * at(world.size()));
         allfold::all_to_all(world, data);
       }},
  };
}

/// One rank does `away` instead of its call; the others go on to a barrier, in case the collective
/// can do without that rank. What the others were told.
template <class Away>
std::vector<outcome> without(int size, int missing, const named_call& it, Away away,
                             int good_calls) {
  std::vector<outcome> told(at(size));
  const auto begin = clock_type::now();
  run_ranks(size, [&](world_type& world) {
    told[at(world.rank())] = attempt([&] {
      for (int i = 0; i < good_calls; ++i) allfold::barrier(world);
      if (world.rank() == missing) return;
      it.call(world);
      allfold::barrier(world);
    });
    if (world.rank() == missing) away();
  });
  CHECK(clock_type::now() - begin < soon);
  return told;
}

template <class Away>
void check_all_are_told(Away away, const std::function<std::string(int, int)>& cause) {
  for (const named_call& it : all_calls())
    for (int size = 2; size <= 5; ++size)
      for (int missing = 0; missing < size; ++missing) {
        const int good_calls = missing % 3;
        const auto told = without(size, missing, it, away, good_calls);
        for (int rank = 0; rank < size; ++rank) {
          if (rank == missing) continue;
          CAPTURE(it.name);
          CAPTURE(size);
          CAPTURE(missing);
          CAPTURE(told[at(rank)].text);
          CHECK(told[at(rank)].how == ending::lost);
          CHECK(told[at(rank)].says(cause(missing, good_calls)));
          CHECK(told[at(rank)].text.find("allfold: " + rank_name(rank) + ", ") == 0);
          CHECK(told[at(rank)].says("lost.cpp:"));
        }
      }
}

/// Adds up; throws on one rank when it is asked for the `after`-th time.
struct failing_sum {
  static inline thread_local int left = -1;

  float operator()(float a, float b) const {
    if (left >= 0 && left-- == 0) throw std::domain_error{"no such sum"};
    return a + b;
  }
};

/// Fails when the whole sum is divided.
struct failing_finish : allfold::sum {
  static inline thread_local bool fails = false;

  float finish(float total, int) const {
    if (fails) throw std::domain_error{"no such mean"};
    return total;
  }
};

/// Sixteen bits whose conversion may throw: the elements are converted as they are folded.
struct fragile {
  static inline thread_local bool fails = false;
  std::uint16_t bits = 0;

  fragile() = default;
  explicit fragile(float value) : bits{static_cast<std::uint16_t>(value)} {}
  explicit operator float() const {
    if (fails) throw std::range_error{"not a number"};
    return static_cast<float>(bits);
  }
};
static_assert(allfold::half_precision<fragile>);

/// One rank throws inside all_reduce<Algorithm>. Whoever is not told there is told in the barrier.
template <class Algorithm, class T, class Operation, class Prepare>
void check_throw_inside(std::size_t count, Prepare prepare, const std::string& cause,
                        int chances = 1) {
  for (int size = 1; size <= 5; ++size)
    for (int culprit = 0; culprit < size; ++culprit)
      for (int chance = 0; chance < chances; ++chance) {
        std::vector<outcome> all(at(size)), again(at(size));
        std::atomic<bool> thrown{false};
        run_ranks(size, [&](world_type& world) {
          all[at(world.rank())] = attempt([&] {
            allfold::barrier(world);
            std::vector<T> data(count, T(1.0f));
            prepare(world.rank() == culprit, chance);
            try {
              allfold::all_reduce<Algorithm>(world, data, Operation{});
            } catch (const allfold::error&) {
              throw;
            } catch (...) {
              thrown = true;
              throw;
            }
            allfold::barrier(world);
          });
          prepare(false, 0);
          again[at(world.rank())] = attempt([&] { allfold::barrier(world); });
        });
        if (!thrown) continue;  // that rank has nothing to fold
        for (int rank = 0; rank < size; ++rank) {
          CAPTURE(size);
          CAPTURE(culprit);
          CAPTURE(all[at(rank)].text);
          if (rank == culprit) {
            CHECK(all[at(rank)].how == ending::other);
            CHECK(all[at(rank)].text == cause);
          } else {
            CHECK(all[at(rank)].how == ending::lost);
            CHECK(all[at(rank)].says(rank_name(culprit) + " threw in all_reduce #1"));
            CHECK(all[at(rank)].says(": " + cause));
            CHECK(all[at(rank)].says("lost.cpp:"));
          }
          CHECK(again[at(rank)].how == ending::lost);
          CHECK(again[at(rank)].says(": " + cause));
        }
      }
}

}  // namespace

TEST_CASE("a rank that returns early is missed by all, in any collective") {
  check_all_are_told([] {},
                     [](int rank, int calls) {
                       return rank_name(rank) + " has left after completing " +
                              std::to_string(calls) +
                              (calls == 1 ? " collective," : " collectives,");
                     });
}

TEST_CASE("a rank that throws between collectives is missed by all, and they hear the cause") {
  check_all_are_told([] { throw std::runtime_error{"out of memory"}; },
                     [](int rank, int) { return rank_name(rank) + " threw: out of memory"; });
}

TEST_CASE("what is thrown need not be a std::exception") {
  for (int culprit = 0; culprit < 3; ++culprit) {
    const auto all = run_ranks(3, [&](world_type& world) {
      if (world.rank() == culprit) throw 42;
      allfold::barrier(world);
    });
    for (int rank = 0; rank < 3; ++rank) {
      CHECK(all[at(rank)].how == (rank == culprit ? ending::other : ending::lost));
      if (rank != culprit) CHECK(all[at(rank)].says(rank_name(culprit) + " threw"));
    }
  }
}

TEST_CASE("an operation that throws inside a collective") {
  const auto prepare = [](bool fails, int chance) {
    constexpr int folds_before[] = {0, 7, 650};
    failing_sum::left = fails ? folds_before[chance] : -1;
  };
  check_throw_inside<allfold::automatic, float, failing_sum>(100, prepare, "no such sum", 2);
  check_throw_inside<direct, float, failing_sum>(3000, prepare, "no such sum", 3);
  check_throw_inside<ring, float, failing_sum>(3000, prepare, "no such sum", 3);
  check_throw_inside<tree, float, failing_sum>(3000, prepare, "no such sum", 3);
  check_throw_inside<halving_doubling, float, failing_sum>(3000, prepare, "no such sum", 3);
  check_throw_inside<allfold::primary<>, float, failing_sum>(3000, prepare, "no such sum", 3);
}

TEST_CASE("the last step of an operation that throws inside a collective") {
  const auto prepare = [](bool fails, int) { failing_finish::fails = fails; };
  check_throw_inside<allfold::automatic, float, failing_finish>(100, prepare, "no such mean");
  check_throw_inside<direct, float, failing_finish>(3000, prepare, "no such mean");
  check_throw_inside<ring, float, failing_finish>(3000, prepare, "no such mean");
  check_throw_inside<tree, float, failing_finish>(3000, prepare, "no such mean");
}

TEST_CASE("an element that throws as it is converted inside a collective") {
  const auto prepare = [](bool fails, int) { fragile::fails = fails; };
  check_throw_inside<allfold::automatic, fragile, allfold::sum>(100, prepare, "not a number");
  check_throw_inside<direct, fragile, allfold::sum>(3000, prepare, "not a number");
  check_throw_inside<ring, fragile, allfold::sum>(3000, prepare, "not a number");
  check_throw_inside<tree, fragile, allfold::sum>(3000, prepare, "not a number");
}

TEST_CASE("an exception that is caught does not undo the failure") {
  std::vector<outcome> second(3);
  run_ranks(3, [&](world_type& world) {
    failing_sum::left = world.rank() == 1 ? 0 : -1;
    std::vector<float> data(10);
    attempt([&] { allfold::all_reduce(world, data, failing_sum{}); });
    failing_sum::left = -1;
    for (int i = 0; i < 10; ++i)
      second[at(world.rank())] = attempt([&] { allfold::all_reduce(world, data); });
  });
  for (const outcome& each : second) {
    CHECK(each.how == ending::lost);
    CHECK(each.says("rank 1 threw in all_reduce #0"));
  }
}

TEST_CASE("spawn rethrows what the failing rank threw, not what the others were told") {
  for (int culprit = 0; culprit < 4; ++culprit)
    CHECK_THROWS_WITH_AS(allfold::spawn(4,
                                        [&](world_type& world) {
                                          allfold::barrier(world);
                                          if (world.rank() == culprit)
                                            throw std::out_of_range{"no more data"};
                                          allfold::barrier(world);
                                        }),
                         "no more data", std::out_of_range);
}

TEST_CASE("a call that can't be right is told on every rank") {
  for (int culprit = 0; culprit < 3; ++culprit) {
    std::vector<outcome> told(3), after(3);
    run_ranks(3, [&](world_type& world) {
      told[at(world.rank())] = attempt([&] {
        std::vector<float> data(world.rank() == culprit ? 10u : 9u);
        allfold::all_gather(world, data);
        allfold::barrier(world);
      });
      after[at(world.rank())] = attempt([&] { allfold::barrier(world); });
    });
    for (int rank = 0; rank < 3; ++rank) {
      CAPTURE(told[at(rank)].text);
      CHECK(told[at(rank)].how == ending::usage);
      CHECK(told[at(rank)].says(rank_name(culprit)));
      CHECK(told[at(rank)].says("can't be divided evenly over 3 ranks"));
      CHECK(told[at(rank)].says("lost.cpp:"));
      CHECK(after[at(rank)].how == ending::usage);
    }
  }
}

TEST_CASE("abort fails the team with the caller's words") {
  for (int culprit = 0; culprit < 3; ++culprit) {
    std::vector<outcome> all(3);
    run_ranks(3, [&](world_type& world) {
      if (world.rank() == culprit) world.abort("the data set is empty");
      all[at(world.rank())] = attempt([&] { allfold::barrier(world); });
    });
    for (const outcome& each : all) {
      CHECK(each.how == ending::usage);
      CHECK(each.says(rank_name(culprit) + " gives up: the data set is empty"));
    }
  }
}

TEST_CASE(
    "a rank that never comes ends the wait at the time limit, and is told when it does come") {
  constexpr auto limit = 200ms;
  const std::vector<named_call> calls{
      {"all_reduce", [](auto& world) { all_reduce_some<allfold::automatic>(world, 10); }},
      {"all_reduce", [](auto& world) { all_reduce_some<direct>(world, 5000); }},
      {"barrier", [](auto& world) { allfold::barrier(world); }}};
  for (const named_call& it : calls)
    for (int missing = 0; missing < 3; ++missing) {
      std::vector<outcome> told(3);
      std::vector<clock_type::duration> waited(3);
      std::atomic<int> ended{0};
      run_ranks(
          3,
          [&](world_type& world) {
            const auto begin = clock_type::now();
            if (world.rank() == missing)
              while (ended < 2) std::this_thread::sleep_for(1ms);
            told[at(world.rank())] = attempt([&] { it.call(world); });
            waited[at(world.rank())] = clock_type::now() - begin;
            ++ended;
          },
          limit);
      for (int rank = 0; rank < 3; ++rank) {
        CAPTURE(told[at(rank)].text);
        CHECK(told[at(rank)].how == ending::timeout);
        CHECK(told[at(rank)].says("for " + rank_name(missing)));
        CHECK(told[at(rank)].says("has not entered it"));
        CHECK(told[at(rank)].says("200 ms"));
        CHECK(told[at(rank)].says(it.name + " #0"));
        CHECK(told[at(rank)].says("lost.cpp:"));
        CHECK(waited[at(rank)] < limit + soon);
      }
      // The first of the others has waited for all of the limit, and nobody much less.
      for (int rank = 0; rank < 3; ++rank) CHECK(waited[at(rank)] > limit / 2);
    }
}

TEST_CASE("every algorithm keeps the time limit, whoever is late") {
  constexpr auto limit = 60ms;
  for (const named_call& it : all_calls())
    for (int missing = 0; missing < 4; missing += 3) {
      CAPTURE(it.name);
      std::vector<outcome> told(4);
      std::atomic<int> ended{0};
      const auto begin = clock_type::now();
      run_ranks(
          4,
          [&](world_type& world) {
            if (world.rank() == missing)
              while (ended < 3) std::this_thread::sleep_for(1ms);
            told[at(world.rank())] = attempt([&] {
              it.call(world);
              allfold::barrier(world);
            });
            ++ended;
          },
          limit);
      CHECK(clock_type::now() - begin < soon);
      for (const outcome& each : told) {
        CHECK(each.how == ending::timeout);
        CHECK(each.says("60 ms"));
      }
    }
}

TEST_CASE("a rank that stays in its operation ends the others' wait at the time limit") {
  struct lingering {
    std::atomic<bool>* lingers;
    float operator()(float a, float b) const {
      if (lingers != nullptr && lingers->exchange(false)) std::this_thread::sleep_for(400ms);
      return a + b;
    }
  };
  std::atomic<bool> lingers{true};
  std::vector<outcome> told(3);
  run_ranks(
      3,
      [&](world_type& world) {
        told[at(world.rank())] = attempt([&] {
          std::vector<float> data(3000);
          allfold::all_reduce<ring>(world, data, lingering{world.rank() == 2 ? &lingers : nullptr});
          allfold::barrier(world);
        });
      },
      100ms);
  for (const outcome& each : told) CHECK(each.how == ending::timeout);
}

TEST_CASE("a rank that comes within the time limit is waited for") {
  const auto all = run_ranks(3, [](world_type& world) {
    for (int late = 0; late < 3; ++late) {
      if (world.rank() == late) std::this_thread::sleep_for(30ms);
      all_reduce_some<ring>(world, 100);
    }
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("the time limit is for each wait, not for all of them") {
  const auto all = run_ranks(
      2,
      [](world_type& world) {
        for (int i = 0; i < 6; ++i) {
          if (world.rank() == i % 2) std::this_thread::sleep_for(400ms);
          allfold::barrier(world);
        }
      },
      2s);
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("no rank gets further ahead of a missing one than the window") {
  // Along the chain every rank may be one collective ahead of the next.
  constexpr int size = 8;
  for (int missing = size - 3; missing < size; ++missing) {
    std::vector<std::uint64_t> calls(size);
    const auto all = run_ranks(size, [&](world_type& world) {
      if (world.rank() == missing) return;
      attempt([&] {
        for (int i = 0; i < 100; ++i) {
          std::vector<float> data(100);
          allfold::broadcast<ring>(world, data, 0);
        }
      });
      calls[at(world.rank())] = world.traffic().calls;
    });
    for (const std::uint64_t each : calls) CHECK(each <= allfold::threads::longest_lead + 1);
  }
}

TEST_CASE("after ranks were lost a fresh team works") {
  for (int i = 0; i < 5; ++i) {
    run_ranks(3, [](world_type& world) {
      if (world.rank() == 0) throw std::runtime_error{"lost"};
      allfold::barrier(world);
    });
    const auto fresh = run_ranks(3, [](world_type& world) { all_reduce_some<tree>(world, 1000); });
    for (const outcome& each : fresh) CHECK_MESSAGE(each.how == ending::returned, each.text);
  }
}
