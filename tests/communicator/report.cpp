#include <allfold/allfold.hpp>
#include <allfold/communicator/report.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "outcome.hpp"
#include "support/forked.hpp"
#include "support/report_file.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using allfold::ring;
using clock_type = std::chrono::steady_clock;
using test::number_of;
using test::report_file;
using thread_world = allfold::threads::communicator;
using process_world = allfold::processes::communicator;

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

/// Runs `work` in a process of its own, since a process reports of one failure only.
template <class Work>
void in_own_process(Work work) {
  CHECK(test::in_processes(1, 1, 60s, [&](std::size_t) {
          work();
          return std::string{};
        }).empty());
}

}  // namespace

TEST_CASE("a report says what each rank has done, is in, and waits for") {
  std::string report;
  allfold::spawn(3, [&](thread_world& world) {
    std::vector<float> data(1000);
    allfold::all_reduce<ring>(world, data);
    allfold::barrier(world);
    if (world.rank() == 1) {  // rank 1 does not come before the others wait for it
      for (const auto end = clock_type::now() + 20s; clock_type::now() < end;) {
        report = world.report();
        if (has(report, "waiting for rank 1") && number_of(report, "is in broadcast #2") == 2)
          break;
        std::this_thread::sleep_for(1ms);
      }
    }
    allfold::broadcast<ring>(world, data, 1);
  });
  CAPTURE(report);
  CHECK(report.find("allfold: report of 3 ranks\n") == 0);
  CHECK(has(report,
            "rank 0 has completed 2 collectives, is in broadcast #2 (ring, 1000 x float, root "
            "1) at report.cpp:"));
  CHECK(has(report, "rank 1 has completed 2 collectives\n"));
  CHECK(number_of(report, "\n  all_reduce #0 (ring, 1000 x float, ") == 3);
  CHECK(number_of(report, "\n  barrier #1 (direct) at report.cpp:") == 3);
  CHECK(number_of(report, "\n  broadcast #2 (ring, 1000 x float, root 1) at report.cpp:") == 2);
  CHECK_FALSE(has(report, "failed"));
}

TEST_CASE("as many of the last calls as one wants, of those that are kept") {
  std::string all, some, none;
  allfold::spawn(2, [&](thread_world& world) {
    for (int i = 0; i < 50; ++i) allfold::barrier(world);
    if (world.rank() == 0) {
      all = world.report();
      some = world.report(3);
      none = world.report(0);
    }
    allfold::barrier(world);
  });
  CHECK(number_of(all, "\n  barrier #") >= 2 * allfold::host::remembered - 2);
  CHECK(has(all, "\n  barrier #49 ("));
  CHECK(has(all, "\n  barrier #20 ("));
  CHECK_FALSE(has(all, "\n  barrier #17 ("));
  CHECK(number_of(some, "\n  barrier #") == 6);
  CHECK(number_of(none, "\n  barrier #") == 0);
  CHECK(has(none, "rank 0 has completed 50 collectives\n"));
}

TEST_CASE("a report may be asked for by any thread while all ranks run") {
  std::atomic<bool> done{false};
  std::atomic<int> reports{0};
  std::atomic<int> wrong{0};
  allfold::spawn(3, [&](thread_world& world) {
    std::thread other;
    if (world.rank() == 0)
      other = std::thread{[&] {
        while (!done) {
          const std::string text = world.report();
          if (number_of(text, "\nrank ") != 3) ++wrong;
          ++reports;
        }
      }};
    std::vector<float> data(500), few(3);
    std::vector<int> goes_on{1};
    for (int i = 0; goes_on[0] != 0; ++i) {
      allfold::all_reduce<ring>(world, data);
      allfold::all_reduce(world, few);
      goes_on[0] = i < 200 || reports < 20;  // as rank 0 sees it
      allfold::broadcast(world, goes_on, 0);
    }
    done = true;
    if (other.joinable()) other.join();
  });
  CHECK(wrong == 0);
  CHECK(reports >= 20);
}

TEST_CASE("a report of processes says what each does, whatever became of it") {
  test::shared_with_children<test::shared_text> said;
  test::shared_with_children<std::atomic<int>> victim;
  allfold::try_spawn_processes(
      4,
      [&](process_world& world) {
        std::vector<float> data(1000);
        allfold::all_reduce<ring>(world, data);
        if (world.rank() == 1) {
          *victim = getpid();
          raise(SIGSTOP);
        }
        if (world.rank() == 2) test::die_by(SIGKILL);
        if (world.rank() == 3) return;
        std::string text;
        for (const auto end = clock_type::now() + 20s; clock_type::now() < end;) {
          text = world.report();
          if (has(text, "is stopped") && has(text, "was killed") && has(text, "has left")) break;
          std::this_thread::sleep_for(1ms);
        }
        said->add(text);
        kill(*victim, SIGKILL);
      },
      {.timeout = 30s});
  const std::string text = said->text();
  CAPTURE(text);
  CHECK(has(text, "allfold: report of 4 ranks\nrank 0 (its process "));
  CHECK(has(text, " is running) has completed 1 collective\n"));
  CHECK(has(text, "rank 1 (its process " + std::to_string(*victim) +
                      " is stopped) has completed 1 collective\n"));
  CHECK(has(text, " was killed by signal 9 (Killed)) has completed 1 collective\n"));
  CHECK(has(text, "rank 3 has left after 1 collective\n"));
  CHECK(number_of(text, "\n  all_reduce #0 (ring, 1000 x float, ") == 4);
  CHECK(has(text, ") at report.cpp:"));
}

TEST_CASE("a team that fails reports it where its options say, once") {
  const report_file file;
  in_own_process([&] {
    for (int i = 0; i < 3; ++i)
      allfold::try_spawn(3,
                         [](thread_world& world) {
                           allfold::barrier(world);
                           if (world.rank() == 2) throw std::runtime_error{"no more data"};
                           allfold::barrier(world);
                         },
                         {.report = file.name});
  });
  const std::string text = file.text();
  CAPTURE(text);
  CHECK(text.find("allfold: report of 3 ranks\n") == 0);
  CHECK(number_of(text, "allfold: report") == 1);
  CHECK(number_of(text, "\n  barrier #0 (") == 3);
  CHECK(has(text,
            "\nfailed: rank 2 threw: no more data; it has completed 1 collective, the last "
            "barrier #0 (direct) at report.cpp:"));
}

TEST_CASE("or where the environment says") {
  const report_file file, other;
  in_own_process([&] {
    setenv("ALLFOLD_REPORT", file.name.c_str(), 1);
    allfold::try_spawn_processes(3, [](process_world& world) {
      allfold::barrier(world);
      if (world.rank() == 1) test::die_by(SIGKILL);
      allfold::barrier(world);
    });
    allfold::try_spawn_processes(2,
                                 [](process_world& world) {
                                   if (world.rank() == 1) throw std::runtime_error{"no more data"};
                                   allfold::barrier(world);
                                 },
                                 {.report = other.name});
  });
  const std::string text = file.text();
  CAPTURE(text);
  CHECK(number_of(text, "allfold: report of 3 ranks") == 1);
  CHECK(number_of(text, "failed: ") == 1);
  CHECK(has(text, "failed: rank 1 (its process "));
  CHECK(has(text, "was killed by signal 9"));
  CHECK(number_of(text, " is in barrier #1 (") >= 1);  // the rank that has found it
  CHECK(number_of(other.text(), "allfold: report of 2 ranks") == 1);
  CHECK(has(other.text(), "failed: rank 1 threw: no more data; it has completed 0 collectives\n"));
}

TEST_CASE(
    "nothing is reported if that is not wanted, and a file that can't be written is no error") {
  for (const bool wanted : {false, true}) {
    const report_file errors;
    in_own_process([&] {
      unsetenv("ALLFOLD_REPORT");
      if (std::freopen(errors.name.c_str(), "w", stderr) == nullptr) std::abort();
      const auto thrown = allfold::try_spawn(2,
                                             [](thread_world& world) {
                                               if (world.rank() == 1) world.abort("enough");
                                               allfold::barrier(world);
                                             },
                                             {.report = wanted ? "/nowhere/at/all" : ""});
      std::fflush(stderr);
      if (!outcome_of(thrown[0]).says("rank 1 gives up: enough")) std::abort();
    });
    CHECK(errors.text() ==
          (wanted ? "allfold: no report can be written to /nowhere/at/all\n" : ""));
  }
}

TEST_CASE("a report to standard error comes in one piece") {
  const report_file errors;
  in_own_process([&] {
    if (std::freopen(errors.name.c_str(), "a", stderr) == nullptr) std::abort();
    allfold::try_spawn_processes(4,
                                 [](process_world& world) {
                                   auto alone = world.split(world.rank());
                                   for (int i = 0; i < 40; ++i) allfold::barrier(world);
                                   alone.abort("all at once");  // four teams fail in four processes
                                 },
                                 {.report = "stderr"});
  });
  const std::string text = errors.text();
  CHECK(number_of(text, "allfold: report of 1 rank\n") == 4);
  std::size_t whole = 0;
  for (auto at = text.find("allfold: report"); at != text.npos;
       at = text.find("allfold: report", at + 1))
    if (has(text.substr(at, text.find("allfold: report", at + 1) - at),
            "\nfailed: rank 0 gives up"))
      ++whole;
  CHECK(whole == 4);
}
