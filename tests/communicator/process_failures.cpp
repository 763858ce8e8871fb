// What goes wrong with ranks that are processes, one case at a time; tests/communicator/
// process_faults.cpp tries everything everywhere.

#include "support/faulty.hpp"

#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "outcome.hpp"
#include "support/forked.hpp"
#include "support/sanitizers.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using allfold::ring;
using clock_type = std::chrono::steady_clock;
using world_type = allfold::processes::communicator;

/// What one rank was told, in memory that all share.
struct told {
  std::atomic<clock_type::rep> when{0};
  ending how = ending::returned;
  char text[3000] = {};

  template <class Work>
  void by(Work work) {
    const outcome it = attempt(work);
    how = it.how;
    std::snprintf(text, sizeof text, "%s", it.text.c_str());
    when = clock_type::now().time_since_epoch().count();
  }
  bool says(const std::string& part) const {
    return std::string{text}.find(part) != std::string::npos;
  }
  clock_type::time_point time() const { return clock_type::time_point{clock_type::duration{when}}; }
};
struct board {
  told first[4], second[4];
  std::atomic<int> step{0};
  std::atomic<int> processes[4]{};
  std::atomic<clock_type::rep> begin{0};
  std::atomic<int> disturbed{0};

  void begin_now() { begin = clock_type::now().time_since_epoch().count(); }
  clock_type::duration after(const told& it) const {
    return it.time() - clock_type::time_point{clock_type::duration{begin}};
  }
  /// Waits until others have come so far; false if they don't.
  bool await(int wanted, clock_type::duration limit = 30s) const {
    const auto end = clock_type::now() + limit;
    while (step < wanted && clock_type::now() < end) std::this_thread::sleep_for(200us);
    return step >= wanted;
  }
};

using shared_board = test::shared_with_children<board>;

}  // namespace

TEST_CASE("a death is noticed within a second also where nobody waits for the one that died") {
  // The ring's ranks wait for rank 3, which has other things to do for a while.
  for (int attempt_left = 3; attempt_left > 0; --attempt_left) {
    shared_board shared;
    allfold::try_spawn_processes(4, [&](world_type& world) {
      shared->first[world.rank()].by([&] {
        allfold::barrier(world);
        if (world.rank() == 2) {
          shared->begin_now();
          raise(SIGKILL);
        }
        if (world.rank() == 3) std::this_thread::sleep_for(2500ms);
        std::vector<float> data(1000);
        allfold::broadcast<ring>(world, data, 3);
      });
    });
    bool soon = true;
    for (const int rank : {0, 1}) {
      CAPTURE(shared->first[rank].text);
      CHECK(shared->first[rank].how == ending::lost);
      CHECK(shared->first[rank].says("rank 2 (its process"));
      CHECK(shared->first[rank].says("was killed by signal 9"));
      soon = soon && shared->after(shared->first[rank]) < 1s;
    }
    CHECK(shared->first[3].how == ending::lost);
    if (soon) break;
    CHECK(attempt_left > 1);
  }
}

TEST_CASE("a rank that ends after its part is done disturbs nobody") {
  for (int i = 0; i < 20; ++i) {
    const auto endings = allfold::try_spawn_processes(4, [](world_type& world) {
      std::vector<float> data(50'000, 1.0f);
      allfold::broadcast<ring>(world, data, 0);
      // Rank 3 is the last of the chain; the others may not have left the collective yet.
      if (world.rank() == 3) _exit(0);
      if (world.rank() == 2) std::this_thread::sleep_for(3ms);
    });
    for (const allfold::process_ending& each : endings) CHECK_MESSAGE(each.good(), each.in_words());
  }
}

namespace {

int stops_at = -1;

void stop_at_step(int index) {
  if (index != stops_at) return;
  test::on_step = nullptr;
  raise(SIGSTOP);
}

}  // namespace

TEST_CASE("a rank is killed at any moment") {
  // From before it joins to the middle of whatever it does, by a timer.
  const auto play = [](std::size_t number) {
    constexpr int size = 3;
    const int culprit = static_cast<int>(number % size);
    std::mt19937 random{static_cast<unsigned>(number)};
    const allfold::processes::options options{.timeout = 60s, .arena_bytes = std::size_t{1} << 22};
    auto region = allfold::detail::region_for(size, options);
    allfold::detail::forked_ranks ranks{region, size};
    allfold::processes::team_state{region.data(), size}.make([](int) { return 0; });
    const auto body = [](world_type& world) {
      std::vector<float> data(3000), few(5);
      for (int i = 0;; ++i) {
        allfold::all_reduce<ring>(world, data);
        allfold::broadcast(world, few, i % world.size());
        allfold::barrier(world);
        if (i % 4 != 3) continue;
        world_type other = i % 8 == 3 ? world.split(0) : world.companion();
        allfold::all_reduce<allfold::direct>(other, data);
      }
    };
    for (int rank = 0; rank < size; ++rank)
      ranks.fork_rank([&](int own) {
        std::signal(SIGALRM, SIG_DFL);
        const itimerval once{{0, 0}, {0, 1 + static_cast<suseconds_t>(random() % 6000)}};
        if (own == culprit) setitimer(ITIMER_REAL, &once, nullptr);
        return allfold::detail::live_as_process(region, own, size, body, options);
      });
    ranks.wait(30s);
    std::string wrong;
    for (const allfold::process_ending& each : ranks.endings()) {
      const auto says = [&](const std::string& part) {
        return each.thrown.find(part) != std::string::npos;
      };
      const bool right = each.rank == culprit ? each.signal == SIGALRM
                                              : says(rank_name(culprit) + " (its process ") &&
                                                    says("was killed by signal 14 (Alarm clock)");
      if (!right) wrong += "\n" + std::to_string(number) + ": " + each.in_words();
    }
    return wrong;
  };
  const std::string wrong = test::in_processes(3, 300, 5min, play);
  CHECK_MESSAGE(wrong.empty(), wrong);
}

TEST_CASE("a rank that was stopped and goes on is told itself, and writes to nobody's memory") {
  for (const bool arena : {false, true})
    for (int step = 0; step <= ring{}.steps(3); ++step) {
      shared_board shared;
      allfold::try_spawn_processes(3,
                                   [&](world_type& world) {
                                     std::vector<float> own(30'000, 1.0f);
                                     const auto place =
                                         world.allocate<float>(arena ? own.size() : 1);
                                     std::span<float> data{own};
                                     if (arena) data = {place.data(), place.size()};
                                     allfold::barrier(world);
                                     shared->processes[world.rank()] = getpid();
                                     if (world.rank() == 1) {
                                       stops_at = step;
                                       test::on_step = stop_at_step;
                                     }
                                     shared->first[world.rank()].by([&] {
                                       allfold::all_reduce<test::faulty<ring>>(world, data);
                                       allfold::barrier(world);
                                     });
                                     std::fill(data.begin(), data.end(), -7.0f);
                                     if (world.rank() == 0) {
                                       shared->await(1);
                                       kill(shared->processes[1], SIGCONT);
                                     }
                                     ++shared->step;
                                     shared->await(3);
                                     for (const float each : data)
                                       if (each != -7.0f) shared->disturbed = 1 + world.rank();
                                   },
                                   {.timeout = 200ms, .arena_bytes = std::size_t{1} << 22});
      for (int rank = 0; rank < 3; ++rank) {
        CAPTURE(rank);
        CAPTURE(step);
        CAPTURE(shared->first[rank].text);
        CHECK(shared->first[rank].how == ending::timeout);
        CHECK(shared->first[rank].says("rank 1 (its process"));
        CHECK(shared->first[rank].says("is stopped"));
        CHECK_FALSE(shared->first[rank].says("may still write"));
      }
      CHECK(shared->disturbed == 0);
    }
}

namespace {

/// Adds up; stops its process at the first sum that it is armed for.
struct stopping_sum {
  static inline bool armed = false;
  float operator()(float a, float b) const {
    if (std::exchange(armed, false)) raise(SIGSTOP);
    return a + b;
  }
};

}  // namespace

TEST_CASE("who can't wait for a rank that is stopped in a fold says so, and keeps the memory") {
  shared_board shared;
  allfold::try_spawn_processes(3,
                               [&](world_type& world) {
                                 shared->processes[world.rank()] = getpid();
                                 std::byte* before = nullptr;
                                 std::byte* after = nullptr;
                                 {
                                   auto place = world.allocate<float>(300'000);
                                   before = reinterpret_cast<std::byte*>(place.data());
                                   stopping_sum::armed = world.rank() == 1;
                                   shared->first[world.rank()].by([&] {
                                     allfold::all_reduce<ring>(world, place, stopping_sum{});
                                     allfold::barrier(world);
                                   });
                                 }
                                 auto place = world.allocate<float>(300'000);
                                 after = reinterpret_cast<std::byte*>(place.data());
                                 if (world.rank() != 1 && before == after) shared->disturbed = 1;
                                 ++shared->step;
                                 shared->await(2);
                                 kill(shared->processes[1], SIGCONT);
                                 shared->await(3);
                               },
                               {.timeout = 300ms, .arena_bytes = std::size_t{1} << 23});
  for (const int rank : {0, 2}) {
    CAPTURE(shared->first[rank].text);
    CHECK(shared->first[rank].how == ending::timeout);
    CHECK(shared->first[rank].says("and does not come out of a fold"));
    CHECK(shared->first[rank].says("; rank 1 (its process"));
    CHECK(shared->first[rank].says("may still write to the buffers of this call"));
  }
  CHECK(shared->first[1].how == ending::timeout);  // when it goes on
  CHECK(shared->disturbed == 0);
}

TEST_CASE("a job that is stopped as a whole for longer than the time limit goes on") {
  shared_board shared;
  const auto endings = allfold::try_spawn_processes(
      3,
      [&](world_type& world) {
        shared->processes[world.rank()] = getpid();
        allfold::barrier(world);
        if (world.rank() == 0) {  // who stops the others, and itself by another process's hand
          const pid_t waker = fork();
          if (waker == 0) {
            for (const auto& each : shared->processes)
              if (each != 0) kill(each, SIGSTOP);
            std::this_thread::sleep_for(2800ms);
            for (const auto& each : shared->processes)
              if (each != 0) kill(each, SIGCONT);
            _exit(0);
          }
          std::this_thread::sleep_for(100ms);
          waitpid(waker, nullptr, 0);
        }
        std::vector<float> data(1000, 1.0f);
        for (int i = 0; i < 3; ++i) allfold::all_reduce<ring>(world, data);
      },
      {.timeout = 2500ms});
  for (const allfold::process_ending& each : endings) CHECK_MESSAGE(each.good(), each.in_words());
}

TEST_CASE("one rank's shared memory is used up") {
  // Operands that must be copied there, scratch memory, and what split keeps.
  const auto play = [](const auto& call, allfold::processes::copying how) {
    shared_board shared;
    allfold::try_spawn_processes(
        3,
        [&](world_type& world) {
          allfold::barrier(world);
          allfold::processes::shared_array<std::byte> all;
          if (world.rank() == 0) all = world.allocate<std::byte>((std::size_t{1} << 20) - 4096);
          shared->first[world.rank()].by([&] { call(world); });
          shared->second[world.rank()].by([&] { allfold::barrier(world); });
        },
        {.timeout = 30s, .arena_bytes = std::size_t{1} << 20, .copying = how});
    for (int rank = 0; rank < 3; ++rank) {
      CAPTURE(rank);
      CAPTURE(shared->first[rank].text);
      CHECK(shared->first[rank].how != ending::returned);
      CHECK(shared->second[rank].how != ending::returned);
      CHECK(shared->second[rank].says("rank 0 "));
      CHECK(shared->first[rank].says("bytes in a rank's shared memory of "));
      CHECK(shared->after(shared->first[rank]) - shared->after(shared->first[0]) < 20s);
    }
  };
  const auto all_reduce = [](world_type& world) {
    std::vector<float> data(20'000);
    allfold::all_reduce<ring>(world, data);
    allfold::barrier(world);
  };
  play(all_reduce, allfold::processes::copying::through_region);
  const auto all_to_all = [](world_type& world) {
    std::vector<float> data(30'000);
    allfold::all_to_all(world, data);  // which takes scratch memory in place
    allfold::barrier(world);
  };
  play(all_to_all, allfold::processes::copying::automatic);
  play([](world_type& world) { world.split(0); }, allfold::processes::copying::automatic);
  play([](world_type& world) { world.companion(); }, allfold::processes::copying::automatic);
}

TEST_CASE("operands that are not there") {
  // The root of a broadcast does not read them itself.
  shared_board shared;
  allfold::try_spawn_processes(
      3,
      [&](world_type& world) {
        const std::size_t bytes = std::size_t{1} << 20;
        void* const place =
            mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (world.rank() == 1) mprotect(place, bytes, PROT_NONE);
        shared->first[world.rank()].by([&] {
          std::span<float> data{static_cast<float*>(place), bytes / sizeof(float)};
          allfold::broadcast<allfold::direct>(world, data, 1);
          allfold::barrier(world);
        });
      },
      {.timeout = 30s, .copying = allfold::processes::copying::once});
  for (const told& each : std::span{shared->first, 3}) {
    CAPTURE(each.text);
    CHECK(each.how == ending::lost);
    CHECK(each.says(" could copy 0 of "));
    CHECK(each.says("bytes of the memory of rank 1 (its process"));
    CHECK(each.says(
        "Bad address; it is in broadcast #0 (direct, 262144 x float, root 1) at process_f"));
    CHECK((each.says("has not moved for at least ") || each.says("was last seen to move ")));
    CHECK(each.says("broadcast #0"));
  }
}

TEST_CASE("any thread may abort, and the rank that is in a collective gets the error too") {
  shared_board shared;
  allfold::try_spawn_processes(3,
                               [&](world_type& world) {
                                 std::thread other;
                                 if (world.rank() == 1)
                                   other = std::thread{[&world] {
                                     std::this_thread::sleep_for(20ms);
                                     world.abort("another thread has found something");
                                   }};
                                 shared->first[world.rank()].by([&] {
                                   if (world.rank() == 2) std::this_thread::sleep_for(100ms);
                                   allfold::barrier(world);
                                 });
                                 if (other.joinable()) other.join();
                               },
                               {.timeout = 30s});
  for (const told& each : std::span{shared->first, 3}) {
    CAPTURE(each.text);
    CHECK(each.how == ending::usage);
    CHECK(each.says("rank 1 gives up: another thread has found something"));
  }
}

#if !TEST_ADDRESS_SANITIZER && !TEST_THREAD_SANITIZER  // which need all addresses

TEST_CASE("a rank whose memory the system limits before it joins, and who has no room to map it") {
  // Ranks that were not started by spawn_processes: what one is refused, all hear.
  constexpr int size = 3;
  struct meeting_place {
    std::atomic<int> come[4]{};
    std::byte bytes[4][size * 1024];
  };
  test::shared_with_children<meeting_place> place;
  shared_board shared;
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    const pid_t child = fork();
    if (child == 0) {
      int round = 0;
      const auto exchange = [&](const void* mine, std::size_t bytes, void* all) {
        if (round == 4 || bytes * size > sizeof place->bytes[0]) _exit(4);
        std::memcpy(place->bytes[round] + static_cast<std::size_t>(rank) * bytes, mine, bytes);
        ++place->come[round];
        for (const auto end = clock_type::now() + 20s; place->come[round] < size;)
          if (clock_type::now() > end) _exit(3);
        std::memcpy(all, place->bytes[round], bytes * size);
        ++round;
      };
      if (rank == 2) {
        const rlimit limit{rlim_t{1} << 30, rlim_t{1} << 30};
        setrlimit(RLIMIT_AS, &limit);
      }
      shared->first[rank].by([&] {
        world_type world{rank, size, exchange, {.arena_bytes = std::size_t{1} << 31}};
        allfold::barrier(world);
      });
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) CHECK(test::wait_for_child(child, 30s) == 0);
  for (const told& each : std::span{shared->first, size}) {
    CAPTURE(each.text);
    CHECK(each.how == ending::other);
    CHECK(each.says("the system refuses rank 2: mapping shared memory of"));
    CHECK(each.says("Cannot allocate memory"));
  }
}

#endif
