#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"
#include "support/sanitizers.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using world_type = allfold::threads::communicator;

struct own_exception {
  int number;
};

}  // namespace

TEST_CASE("every rank runs once, in a thread of its own, with its number and the size") {
  for (int size = 1; size <= 9; ++size) {
    std::vector<std::atomic<int>> runs(at(size));
    std::vector<std::thread::id> threads(at(size));
    std::atomic<bool> right{true};
    allfold::spawn(size, [&](auto& world) {
      if (world.size() != size || world.rank() < 0 || world.rank() >= size) right = false;
      ++runs[at(world.rank())];
      threads[at(world.rank())] = std::this_thread::get_id();
    });
    CHECK(right);
    for (const auto& each : runs) CHECK(each == 1);
    std::set<std::thread::id> different(threads.begin(), threads.end());
    different.insert(std::this_thread::get_id());
    CHECK(different.size() == at(size) + 1);
  }
}

TEST_CASE("what the ranks wrote is there when spawn returns") {
  std::vector<int> written(4);
  for (int i = 1; i <= 100; ++i) {
    allfold::spawn(4, [&](auto& world) { written[at(world.rank())] += world.rank() + i; });
    for (int rank = 0; rank < 4; ++rank) CHECK(written[at(rank)] == i * rank + i * (i + 1) / 2);
  }
}

TEST_CASE("without a rank there is nothing to spawn") {
  for (const int size : {0, -1, -1000}) {
    std::atomic<bool> ran{false};
    const auto body = [&](world_type&) { ran = true; };
    const outcome spawned = attempt([&] { allfold::spawn(size, body); });
    const outcome tried = attempt([&] { allfold::try_spawn(size, body); });
    CHECK(spawned.how == ending::usage);
    CHECK(spawned.says(std::to_string(size)));
    CHECK(tried.how == ending::usage);
    CHECK_FALSE(ran);
  }
}

TEST_CASE("try_spawn gives what each rank threw") {
  const auto thrown = allfold::try_spawn(5, [](auto& world) {
    if (world.rank() == 1) throw std::out_of_range{"one"};
    if (world.rank() == 2) throw own_exception{22};
    if (world.rank() == 4) throw "four";
  });
  REQUIRE(thrown.size() == 5);
  CHECK(thrown[0] == nullptr);
  CHECK(thrown[3] == nullptr);
  CHECK_THROWS_WITH_AS(std::rethrow_exception(thrown[1]), "one", std::out_of_range);
  try {
    std::rethrow_exception(thrown[2]);
  } catch (const own_exception& it) {
    CHECK(it.number == 22);
  }
  CHECK_THROWS_AS(std::rethrow_exception(thrown[4]), const char*);
}

TEST_CASE("try_spawn gives nothing where nothing was thrown") {
  for (const auto& each : allfold::try_spawn(3, [](auto& world) { allfold::barrier(world); }))
    CHECK(each == nullptr);
}

TEST_CASE("spawn rethrows what was thrown first") {
  for (int first = 0; first < 4; ++first) {
    std::atomic<bool> thrown{false};
    const auto body = [&](world_type& world) {
      if (world.rank() == first) {
        thrown = true;
        throw own_exception{first};
      }
      // The others fail because of it: later, and with an exception of their own.
      const outcome told = attempt([&] { allfold::barrier(world); });
      throw std::runtime_error{told.text};
    };
    bool rethrown = false;
    try {
      allfold::spawn(4, body);
    } catch (const own_exception& it) {
      rethrown = it.number == first;
    }
    CHECK(rethrown);
  }
}

TEST_CASE("spawn rethrows what others threw if the rank that failed first swallowed it") {
  CHECK_THROWS_AS(allfold::spawn(3,
                                 [](auto& world) {
                                   if (world.rank() == 1) {
                                     world.abort("enough");
                                     return;
                                   }
                                   allfold::barrier(world);
                                 }),
                  allfold::usage_error);
}

TEST_CASE("nothing is thrown if every rank swallows its error") {
  CHECK_NOTHROW(allfold::spawn(3, [](auto& world) {
    attempt([&] {
      std::vector<int> data(world.rank() == 0 ? 1u : 2u);
      allfold::all_reduce(world, data);
    });
  }));
}

TEST_CASE("an exception outlives its rank") {
  auto thrown = allfold::try_spawn(2, [](auto& world) {
    throw std::runtime_error{"rank " + std::to_string(world.rank()) + std::string(100, '.')};
  });
  allfold::spawn(2, [](auto& world) { allfold::barrier(world); });
  for (int rank = 0; rank < 2; ++rank)
    CHECK(outcome_of(thrown[at(rank)]).text == rank_name(rank) + std::string(100, '.'));
}

TEST_CASE("many more ranks than cores come through") {
  const auto begin = clock_type::now();
  std::vector<int> sums(64);
  const auto all = run_ranks(64, [&](world_type& world) {
    for (int i = 0; i < 10; ++i) {
      std::vector<int> data(5000, world.rank());
      allfold::barrier<allfold::dissemination>(world);
      allfold::all_reduce<allfold::tree>(world, data);
      sums[at(world.rank())] = data.back();
      data.resize(3);
      allfold::all_reduce(world, data);
    }
    std::vector<int> long_way(6400, 1);
    allfold::all_reduce<allfold::ring>(world, long_way);
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  for (const int sum : sums) CHECK(sum == 64 * 63 / 2);
  CHECK(clock_type::now() - begin < 30s);
}

TEST_CASE("hundreds of teams, one after the other and several at a time") {
  for (int i = 0; i < 200; ++i) allfold::spawn(3, [](auto& world) { allfold::barrier(world); });
  std::atomic<int> right{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&right, caller] {
      for (int i = 0; i < 30; ++i)
        allfold::spawn(2, [&](auto& world) {
          std::vector<int> data{caller};
          allfold::all_reduce(world, data);
          if (data[0] == 2 * caller) ++right;
        });
    });
  for (std::thread& each : callers) each.join();
  CHECK(right == 4 * 30 * 2);
}

TEST_CASE("a rank may spawn ranks of its own") {
  std::vector<int> sums(3);
  allfold::spawn(3, [&](auto& world) {
    std::vector<int> value{world.rank()};
    allfold::spawn(2, [&](auto& inner) {
      std::vector<int> one{1};
      allfold::all_reduce(inner, one);
      if (inner.rank() == 0) value[0] += one[0];
    });
    allfold::all_reduce(world, value);
    sums[at(world.rank())] = value[0];
  });
  for (const int sum : sums) CHECK(sum == 0 + 1 + 2 + 3 * 2);
}

TEST_CASE("an exception in a rank's own ranks reaches all") {
  const auto all = run_ranks(3, [](world_type& world) {
    if (world.rank() == 2)
      allfold::spawn(2, [](auto& inner) {
        if (inner.rank() == 1) throw std::runtime_error{"deep inside"};
        allfold::barrier(inner);
      });
    allfold::barrier(world);
  });
  CHECK(all[2].text == "deep inside");
  for (const std::size_t other : {0u, 1u}) {
    CHECK(all[other].how == ending::lost);
    CHECK(all[other].says("rank 2 threw: deep inside"));
  }
}

TEST_CASE("the body may be anything that can be called, and all ranks share it") {
  allfold::spawn(2, [kept = std::make_unique<int>(7)](auto& world) {  // can't be copied
    if (*kept != 7) throw std::logic_error{"lost"};
    allfold::barrier(world);
  });

  int calls = 0;
  allfold::spawn(1, [&calls, own = 0](auto&) mutable { calls = ++own; });  // const on no side
  CHECK(calls == 1);

  struct counting {
    std::atomic<int> calls{0};
    void operator()(world_type&) { ++calls; }
  } counter;
  allfold::spawn(3, counter);
  CHECK(counter.calls == 3);

  std::atomic<int> ranks{0};
  const std::function<void(world_type&)> function = [&](world_type& world) {
    ranks += world.rank();
  };
  allfold::spawn(4, function);
  CHECK(ranks == 6);
}

TEST_CASE("the time limit is the one that was asked for") {
  std::atomic<bool> right{true};
  allfold::spawn(2,
                 [&](auto& world) { right = right && world.shared()->options().timeout == 1234ms; },
                 {.timeout = 1234ms});
  CHECK(right);
}

TEST_CASE("a team is crowded if it has more ranks than there are cores") {
  const int cores = allfold::usable_cores();
  REQUIRE(cores >= 1);
  for (const int size : {1, cores, cores + 1}) {
    std::atomic<bool> right{true};
    allfold::spawn(size, [&](auto& world) {
      right = right && world.shared()->options().crowded == (size > cores);
    });
    CHECK(right);
  }
}

#if defined(__linux__)

namespace {

std::set<int> cores_of_this_thread() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  std::set<int> found;
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return found;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(static_cast<std::size_t>(core), &cores)) found.insert(core);
  return found;
}

}  // namespace

TEST_CASE("ranks are bound to cores if that is asked for, round and round, and else to none") {
  const std::set<int> usable = cores_of_this_thread();
  CHECK(static_cast<int>(usable.size()) == allfold::usable_cores());
  const std::vector<int> in_order(usable.begin(), usable.end());
  const int size = static_cast<int>(usable.size()) + 2;
  std::vector<std::set<int>> pinned(at(size)), loose(at(size));
  allfold::spawn(size, [&](auto& world) { pinned[at(world.rank())] = cores_of_this_thread(); },
                 {.pin = true});
  allfold::spawn(size, [&](auto& world) { loose[at(world.rank())] = cores_of_this_thread(); });
  for (int rank = 0; rank < size; ++rank) {
    CHECK(pinned[at(rank)] == std::set<int>{in_order[at(rank) % in_order.size()]});
    CHECK(loose[at(rank)] == usable);
  }
  CHECK(cores_of_this_thread() == usable);  // the caller's own thread is left alone
}

TEST_CASE("bound ranks work, also more of them than cores") {
  for (const int size : {2, 5}) {
    std::atomic<int> right{0};
    allfold::spawn(size,
                   [&](auto& world) {
                     for (int i = 0; i < 20; ++i) {
                       std::vector<int> data(2000, 1);
                       allfold::all_reduce<allfold::ring>(world, data);
                       if (data[1999] == size) ++right;
                     }
                   },
                   {.pin = true});
    CHECK(right == 20 * size);
  }
}

TEST_CASE("a bound thread spawns within its core") {
  std::vector<std::set<int>> inside(2);
  std::set<int> outside;
  allfold::spawn(1,
                 [&](auto&) {
                   outside = cores_of_this_thread();
                   allfold::spawn(
                       2, [&](auto& world) { inside[at(world.rank())] = cores_of_this_thread(); },
                       {.pin = true});
                 },
                 {.pin = true});
  CHECK(outside.size() == 1);
  for (const auto& each : inside) CHECK(each == outside);
}

#if !TEST_ADDRESS_SANITIZER && !TEST_THREAD_SANITIZER

TEST_CASE("if a thread can't be started the others are let go") {
  // In a process of its own, whose memory does not suffice for the stacks of so many threads.
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit limit{rlim_t{1} << 30, rlim_t{1} << 30};
    setrlimit(RLIMIT_AS, &limit);
    std::atomic<int> told{0};
    try {
      allfold::spawn(2000, [&](auto& world) {
        try {
          allfold::barrier(world);
        } catch (const allfold::rank_lost_error& error) {
          if (std::string{error.what()}.find("could not be started") != std::string::npos) ++told;
        }
      });
      _exit(1);
    } catch (const std::system_error&) {
      _exit(told > 0 ? 0 : 2);
    } catch (...) {
      _exit(3);
    }
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

#endif
#endif
