// Ranks that are processes go on after some of them were killed or stopped.
#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "support/exact_calls.hpp"
#include "support/shared_with_children.hpp"
#include "support/world.hpp"

#include <doctest/doctest.h>

#include <array>
#include <csignal>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using allfold::direct;
using allfold::halving_doubling;
using allfold::process_ending;
using allfold::ring;
using allfold::tree;
using allfold::try_spawn_processes;
using allfold::host::shrink_options;
using allfold::host::survival;
using allfold::processes::copying;
using allfold::processes::options;
using world_type = allfold::processes::communicator;

constexpr int most = 8;
const options patient{.timeout = 60s, .arena_bytes = std::size_t{64} << 20};
/// For ranks that are stopped, which others notice by the time limit.
const options impatient{.timeout = 400ms, .arena_bytes = std::size_t{64} << 20};

/// What has become of the ranks, told by themselves.
struct fates {
  struct fate {
    bool goes_on = false;
    int rank = -1, size = -1;
    int others[most];  ///< the ranks before of those that it goes on with
    char failed[800], wrong[800];
  };
  fate of[most];
  std::atomic<int> settled{0}, numbers[4]{};
};
using shared_fates = test::shared_with_children<fates>;

std::string text_of(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const std::exception& thrown) {
    return thrown.what();
  }
}
template <std::size_t N>
void write(char (&to)[N], const std::string& text) {
  std::snprintf(to, N, "%s", text.c_str());
}

/// Notes with whom this rank goes on, and has them call everything.
void settle(world_type& world, fates& all, int before, unsigned round = 0) {
  fates::fate& mine = all.of[before];
  mine.rank = world.rank();
  mine.size = world.size();
  write(mine.wrong, text_of([&] {
          const std::vector<int> others = world.gather(before);
          std::copy(others.begin(), others.end(), mine.others);
          test::require_exact_calls(world, round);
        }));
  mine.goes_on = true;
  ++all.settled;
}

/// All but `missing` go on together in their old order, and end well.
void check_fates(const fates& all, const std::vector<process_ending>& endings,
                 const std::vector<int>& missing) {
  std::vector<int> left;
  for (const process_ending& each : endings) {
    const bool is_left = std::find(missing.begin(), missing.end(), each.rank) == missing.end();
    if (is_left) left.push_back(each.rank);
    CHECK(all.of[each.rank].goes_on == is_left);
    if (is_left) CHECK_MESSAGE(each.good(), each.in_words());
  }
  for (std::size_t place = 0; place < left.size(); ++place) {
    const fates::fate& its = all.of[left[place]];
    CAPTURE(left[place]);
    CAPTURE(its.failed);
    CHECK(its.rank == static_cast<int>(place));
    CHECK(its.size == static_cast<int>(left.size()));
    CHECK(std::equal(left.begin(), left.end(), its.others));
    CHECK_MESSAGE(std::string{its.wrong}.empty(), its.wrong);
  }
}

/// Sends a signal to this process in so many microseconds, whatever it does then.
void signal_in(int microseconds, int signal) {
  std::thread{[=] {
    std::this_thread::sleep_for(std::chrono::microseconds{microseconds});
    kill(getpid(), signal);
  }}.detach();
}

template <class Algorithm>
void all_reduce_some(world_type& world) {
  static unsigned turn = 0;
  if (turn++ % 2 == 0) {
    std::vector<std::uint32_t> data(5000, 1u);
    allfold::all_reduce<Algorithm>(world, data);
  } else {
    const auto data = world.allocate<std::uint32_t>(5000);
    allfold::all_reduce<Algorithm>(world, data);
  }
}

/// All ranks call something over and over, until `happens` on the culprit; the others go on.
template <class Call>
void check_loss(int size, int culprit, Call call, const std::function<void()>& happens, options how,
                shrink_options shrinks = {}) {
  CAPTURE(size);
  CAPTURE(culprit);
  shared_fates all;
  const auto endings = try_spawn_processes(
      size,
      [&](world_type& world) {
        const int before = world.rank();
        write(all->of[before].failed, text_of([&] {
                for (int i = 0; i < 3; ++i) call(world);
                if (before == culprit) happens();
                for (;;) call(world);
              }));
        if (before == culprit) throw std::logic_error{"still here"};
        world = world.shrink(shrinks);
        settle(world, *all, before);
      },
      how);
  check_fates(*all, endings, {culprit});
  CHECK_MESSAGE(endings[static_cast<std::size_t>(culprit)].signal == SIGKILL,
                endings[static_cast<std::size_t>(culprit)].in_words());
}

template <class Call>
void check_kills(Call call) {
  static std::mt19937 random{5};
  for (int size = 2; size <= 5; ++size)
    for (int culprit = 0; culprit < size; ++culprit) {
      options how = patient;
      how.copying = culprit % 2 == 0 ? copying::once : copying::through_region;
      check_loss(
          size, culprit, call, [] { raise(SIGKILL); }, how);
      const auto moment = static_cast<int>(random() % 2000);
      check_loss(
          size, culprit, call, [=] { signal_in(moment, SIGKILL); }, how);
    }
}

/// Kills or stops its process, on one rank, when it is asked for the first time.
struct fatal_sum {
  static inline int signal = 0;

  std::uint32_t operator()(std::uint32_t a, std::uint32_t b) const {
    if (const int it = std::exchange(signal, 0)) kill(getpid(), it);
    return a + b;
  }
};

/// Rank 1 of three is stopped in a fold into all ranks' memory. Then what the others do with their
/// buffers must not be disturbed, even if somebody lets rank 1 go on. Returns how many elements are
/// wrong, and how rank 1 ended.
std::pair<int, process_ending> stop_in_fold(shrink_options shrinks) {
  shared_fates all;
  options how = impatient;
  how.copying = copying::once;
  const auto endings = try_spawn_processes(
      3,
      [&](world_type& world) {
        const int before = world.rank();
        if (before == 1) all->numbers[0] = getpid();
        const auto data = world.allocate<std::uint32_t>(30000);
        const std::string failed = text_of([&] {
          allfold::barrier(world);
          if (before == 1) fatal_sum::signal = SIGSTOP;
          allfold::all_reduce<direct>(world, data, fatal_sum{});
          allfold::barrier(world);
        });
        if (before == 1) {
          write(all->of[1].failed, text_of([&] { world.shrink(shrinks); }));
          return;
        }
        world = world.shrink(shrinks);
        const std::size_t used = world.shared()->world()->heap().used();
        world.allocate<char>(100000);
        const bool reuses = world.shared()->world()->heap().used() == used;
        if (reuses != shrinks.ends_disturbers) throw std::logic_error{"memory is kept, or not"};
        std::fill(data.begin(), data.end(), 7u);
        allfold::barrier(world);
        if (before == 0) kill(all->numbers[0].load(), SIGCONT);
        std::this_thread::sleep_for(200ms);
        all->numbers[1] += static_cast<int>(
            std::count_if(data.begin(), data.end(), [](std::uint32_t it) { return it != 7u; }));
        settle(world, *all, before);
      },
      how);
  check_fates(*all, endings, {1});
  if (!shrinks.ends_disturbers)
    CHECK_MESSAGE(std::string{all->of[1].failed}.find("excluded by rank 0") != std::string::npos,
                  all->of[1].failed);
  return {all->numbers[1].load(), endings[1]};
}

}  // namespace

TEST_CASE("a rank is killed, and the others go on, whatever they were calling") {
  check_kills([](world_type& world) { all_reduce_some<direct>(world); });
  check_kills([](world_type& world) { all_reduce_some<ring>(world); });
  check_kills([](world_type& world) { all_reduce_some<tree>(world); });
  check_kills([](world_type& world) { all_reduce_some<halving_doubling>(world); });
  check_kills([](world_type& world) { all_reduce_some<allfold::primary<>>(world); });
  check_kills([](world_type& world) { allfold::barrier(world); });
  check_kills([](world_type& world) {
    std::vector<int> data(3, 1);
    allfold::all_reduce(world, data);
  });
}

TEST_CASE("a rank is killed in the midst of a fold") {
  for (int culprit = 0; culprit < 3; ++culprit)
    check_loss(
        3, culprit,
        [](world_type& world) {
          std::vector<std::uint32_t> data(5000, 1u);
          allfold::all_reduce<ring>(world, data, fatal_sum{});
        },
        [] { fatal_sum::signal = SIGKILL; }, patient);
}

TEST_CASE("a rank is stopped at any moment: it is left out and ended") {
  std::mt19937 random{3};
  for (const int size : {2, 4})
    for (int culprit = 0; culprit < size; culprit += size - 1) {
      const auto moment = static_cast<int>(random() % 2000);
      check_loss(
          size, culprit, [](world_type& world) { all_reduce_some<ring>(world); },
          [=] { signal_in(moment, SIGSTOP); }, impatient, {.timeout = 200ms});
    }
}

TEST_CASE("a rank that is stopped in a fold can't write to the others' buffers afterwards") {
  const auto [wrong, ending] = stop_in_fold({.timeout = 200ms});
  CHECK(wrong == 0);
  CHECK_MESSAGE(ending.signal == SIGKILL, ending.in_words());
}

TEST_CASE("it does write to them if it is not to be ended") {
  const auto [wrong, ending] = stop_in_fold({.timeout = 200ms, .ends_disturbers = false});
  CHECK(wrong > 0);
  CHECK_MESSAGE(ending.good(), ending.in_words());
}

TEST_CASE("a rank that comes too late is out, and lives") {
  for (int late = 0; late < 3; ++late) {
    shared_fates all;
    const auto endings = try_spawn_processes(
        3,
        [&](world_type& world) {
          const int before = world.rank();
          if (before == late) {
            while (all->settled < 2) std::this_thread::sleep_for(1ms);
            write(all->of[before].failed, text_of([&] { world.shrink(); }));
            return;
          }
          world = world.shrink({.timeout = 100ms});
          settle(world, *all, before);
        },
        patient);
    CAPTURE(late);
    check_fates(*all, endings, {late});
    CHECK(endings[static_cast<std::size_t>(late)].good());
    const std::string told = all->of[late].failed;
    CAPTURE(told);
    CHECK(told.find("allfold: rank " + std::to_string(late) + ", shrink at shrink.cpp:") == 0);
    CHECK(told.find("excluded by rank " + std::to_string(late == 0 ? 1 : 0)) != std::string::npos);
  }
}

TEST_CASE("the rank that is to decide ends or is stopped, before it has and after") {
  for (const int signal : {SIGKILL, SIGSTOP})
    for (const bool after : {false, true}) {
      shared_fates all;
      const auto endings = try_spawn_processes(
          4,
          [&](world_type& world) {
            const int before = world.rank();
            if (before == 0) {
              if (after)
                allfold::host::succession{*world.shared(), 0, {}, std::source_location::current()}
                    .agree();
              else
                world.shared()->of(0).survives.store(survival::claimed);
              kill(getpid(), signal);
            }
            if (!after)
              while (world.shared()->of(0).survives.load() == survival::not_asked)
                std::this_thread::yield();
            world = world.shrink({.timeout = 500ms});
            settle(world, *all, before);
          },
          patient);
      CAPTURE(signal);
      CAPTURE(after);
      check_fates(*all, endings, {0});
    }
}

TEST_CASE("one rank after the other is killed, until one is alone") {
  constexpr int size = 5;
  shared_fates all;
  const auto endings = try_spawn_processes(
      size,
      [&](world_type& world) {
        const int before = world.rank();
        for (unsigned round = 0; world.size() > 1; ++round) {
          const std::string failed = text_of([&] {
            test::require_exact_calls(world, round);
            if (world.rank() == static_cast<int>(round) % world.size()) raise(SIGKILL);
            for (;;) all_reduce_some<ring>(world);
          });
          if (failed.find("wrong") != std::string::npos) throw std::logic_error{failed};
          world = world.shrink();
        }
        settle(world, *all, before);
      },
      patient);
  check_fates(*all, endings, {0, 2, 4, 3});
}

TEST_CASE("those that are left have companions and parts, and the memory of teams comes back") {
  shared_fates all;
  const auto endings = try_spawn_processes(
      4,
      [&](world_type& world) {
        const int before = world.rank();
        const std::string failed = text_of([&] {
          for (;;) {
            if (before == 1) raise(SIGKILL);
            allfold::barrier(world);
          }
        });
        std::size_t used = 0;
        for (unsigned i = 0; i < 60; ++i) {
          world = world.shrink();
          world_type companion = world.companion();
          world_type part = world.split(world.rank() % 2);
          test::exact_calls<world_type>{companion, 100, i}.all_reduce<ring>();
          test::exact_calls<world_type>{part, 100, i}.all_reduce<tree>();
          used = std::max(used, world.shared()->world()->heap().used());
        }
        if (used > 16 * allfold::processes::team_state::bytes_for(3))
          throw std::logic_error{std::to_string(used) + " bytes are lent"};
        settle(world, *all, before);
      },
      patient);
  check_fates(*all, endings, {1});
}

TEST_CASE("those that go on are not killed by who has made them, and who is out is") {
  shared_fates all;
  const auto begin = std::chrono::steady_clock::now();
  const auto endings = try_spawn_processes(
      4,
      [&](world_type& world) {
        const int before = world.rank();
        if (before == 0) raise(SIGKILL);
        if (before == 3)
          for (;;) pause();
        text_of([&] { allfold::barrier(world); });
        world = world.shrink();
        std::this_thread::sleep_for(2s);  // far longer than the time limit
        settle(world, *all, before);
      },
      impatient);
  check_fates(*all, endings, {0, 3});
  CHECK(endings[3].signal == SIGKILL);
  CHECK(std::chrono::steady_clock::now() - begin < 30s);
}

TEST_CASE("ranks that found each other by an exchange go on") {
  test::run_world(3, [](world_type& world) {
    if (world.rank() == 1) return;
    text_of([&] { allfold::barrier(world); });
    world = world.shrink();
    test::own_world = &world;
    if (world.size() != 2) throw std::logic_error{"a wrong size"};
    test::require_exact_calls(world);
  });
}

TEST_CASE("ranks are killed at any moment, several at once and while the others agree") {
  std::mt19937 random{17};
  for (int round = 0; round < 80; ++round) {
    const int size = 2 + static_cast<int>(random() % 4);
    std::array<int, most> moments{};
    std::vector<int> missing;
    const auto spared = static_cast<int>(random() % static_cast<unsigned>(size));
    for (int rank = 0; rank < size; ++rank) {
      if (rank == spared || (missing.size() > 0 && random() % 3 == 0)) continue;
      moments[static_cast<std::size_t>(rank)] = 1000 + static_cast<int>(random() % 3000);
      missing.push_back(rank);
    }
    shared_fates all;
    const auto endings = try_spawn_processes(
        size,
        [&](world_type& world) {
          const int before = world.rank();
          const int moment = moments[static_cast<std::size_t>(before)];
          allfold::barrier(world);
          if (moment > 0) signal_in(moment, SIGKILL);
          const auto expected = size - static_cast<int>(missing.size());
          for (unsigned call = 0; moment > 0 || world.size() > expected;) {
            const std::string failed = text_of([&] {
              for (;; ++call) test::exact_calls<world_type>{world, 700, call}.all_reduce<ring>();
            });
            if (failed.find("wrong") != std::string::npos) throw std::logic_error{failed};
            world = world.shrink();
            call = 0;
          }
          settle(world, *all, before);
        },
        patient);
    CAPTURE(round);
    check_fates(*all, endings, missing);
  }
}
