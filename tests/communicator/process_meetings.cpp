// A rank that was started by others ends while it and they get their shared memory: before and
// after every exchange of the meeting, and when all have met. All others are told who it is, and
// nothing of the memory is left.
#include <allfold/allfold.hpp>
#include <allfold/communicator/processes.hpp>
#include <allfold/launch/rendezvous.hpp>

#include <doctest/doctest.h>

#include <sys/prctl.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "support/forked.hpp"
#include "support/left_behind.hpp"
#include "support/meeting.hpp"

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using world_type = allfold::processes::communicator;
using clock_type = std::chrono::steady_clock;

constexpr int size = 3;

/// When the culprit ends: before or after its n-th exchange.
struct moment {
  int exchange;
  bool after;
};
struct report {
  struct {
    ending how = ending::returned;
    char text[2000] = {};
    int regions = -1;  ///< that the rank has in the end
    std::atomic<clock_type::rep> when{0};
  } of[size];
  std::atomic<clock_type::rep> ended{0};  ///< when the culprit did
  std::atomic<bool> joined{false};        ///< whether it had got through the meeting
};

/// One rank's life.
void live(int rank, int culprit, moment when, int signal, const std::string& folder, report& all) {
  const auto end = [&] {
    all.ended = clock_type::now().time_since_epoch().count();
    if (signal == 0) _exit(0);
    test::die_by(signal);
  };
  allfold::file_rendezvous place{folder, rank, size, {.timeout = 20s, .job = "meetings"}};
  int number = 0;
  const auto exchange = [&](const void* mine, std::size_t bytes, void* out) {
    const bool now = rank == culprit && number++ == when.exchange;
    if (now && !when.after) end();
    place.exchange(mine, bytes, out);
    if (now) end();
  };
  world_type world{rank, size, exchange, {.timeout = 20s, .arena_bytes = std::size_t{1} << 22}};
  if (rank == culprit) {
    all.joined = true;
    end();
  }
  std::vector<float> data(1000, 1.0f);
  for (;;) allfold::all_reduce<allfold::ring>(world, data);
}

/// Plays it. True if the culprit got through the meeting, and ended then.
bool play(int culprit, moment when, int signal) {
  const meeting::folder folder;
  test::shared_with_children<report> all;
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      auto& own = all->of[rank];
      const outcome told = attempt([&] { live(rank, culprit, when, signal, folder.path(), *all); });
      own.how = told.how;
      std::snprintf(own.text, sizeof own.text, "%s", told.text.c_str());
      own.regions = test::own_regions();
      own.when = clock_type::now().time_since_epoch().count();
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) test::wait_for_child(child, 40s);
  CHECK(test::own_regions() == 0);
  for (int rank = 0; rank < size; ++rank) {
    if (rank == culprit) continue;
    const auto& its = all->of[rank];
    CAPTURE(rank);
    CAPTURE(its.text);
    CHECK(its.how == ending::lost);
    CHECK(std::string{its.text}.find(rank_name(culprit) + " ") != std::string::npos);
    CHECK(its.regions == 0);
    CHECK(std::chrono::nanoseconds{its.when - all->ended} < 10s);  // not by the time limit
  }
  return all->joined;
}

}  // namespace

TEST_CASE("a rank that ends at any moment of a meeting is named, and no memory is left") {
  for (const int signal : {SIGKILL, 0})
    for (int culprit = 0; culprit < size; ++culprit)
      for (const bool after : {false, true}) {
        bool joined = false;
        int exchange = 0;
        for (; !joined && exchange < 20; ++exchange) {
          CAPTURE(signal);
          CAPTURE(culprit);
          CAPTURE(after);
          CAPTURE(exchange);
          joined = play(culprit, {exchange, after}, signal);
        }
        CHECK(joined);
        CHECK(exchange > 2);  // there are two at least
      }
}
