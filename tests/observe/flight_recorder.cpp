#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>
#include <allfold/observe/flight_recorder.hpp>

#include "communicator/outcome.hpp"
#include "support/forked.hpp"
#include "support/report_file.hpp"
#include "support/sanitizers.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using allfold::report_on_signal;
using clock_type = std::chrono::steady_clock;
using test::number_of;
using test::report_file;
using thread_world = allfold::threads::communicator;
using process_world = allfold::processes::communicator;

std::atomic<int> handled{0};
void count(int) { ++handled; }

}  // namespace

TEST_CASE("a signal makes a process report what all of its ranks do, one report of each team") {
  const report_file file;
  std::atomic<bool> ends{false};
  std::thread spawner{[&] {
    allfold::spawn(3, [&](thread_world& world) {
      const report_on_signal recorder{world, SIGUSR1, file.name};
      allfold::barrier(world);
      if (world.rank() == 2)
        while (!ends) continue;  // hangs outside of any collective
      allfold::barrier(world);
    });
  }};
  for (std::size_t times = 1; times <= 3; ++times) {
    for (const auto end = clock_type::now() + 20s; clock_type::now() < end;) {
      struct sigaction now {};
      sigaction(SIGUSR1, nullptr, &now);
      if (now.sa_handler != SIG_DFL) break;
      std::this_thread::sleep_for(1ms);
    }
    std::this_thread::sleep_for(50ms);
    kill(getpid(), SIGUSR1);
    CHECK(file.gets("allfold: report of 3 ranks\n", times));
  }
  const std::string text = file.text();
  CAPTURE(text);
  CHECK(number_of(text, "allfold: report of 3 ranks\n") == 3);
  CHECK(number_of(text, "is in barrier #1 (direct) at flight_recorder.cpp:") >= 2);
  CHECK(number_of(text, "waiting for rank 2") >= 2);
  CHECK(number_of(text, "rank 2 has completed 1 collective\n") >= 1);
  ends = true;
  spawner.join();
}

TEST_CASE("a process whose other ranks are stopped or dead reports them") {
  const report_file file;
  test::shared_with_children<std::atomic<int>> first, second;
  allfold::try_spawn_processes(
      3,
      [&](process_world& world) {
        allfold::barrier(world);
        if (world.rank() == 1) {
          *first = getpid();
          raise(SIGSTOP);
        }
        if (world.rank() == 2) {
          *second = getpid();
          test::die_by(SIGKILL);
        }
        const report_on_signal recorder{world, SIGUSR2, file.name};
        const auto end = clock_type::now() + 20s;
        const auto is = [](int process, char state) {
          return process != 0 && allfold::processes::status_of(process).state == state;
        };
        while (!(is(*first, 'T') && is(*second, 0)) && clock_type::now() < end)
          std::this_thread::sleep_for(1ms);
        raise(SIGUSR2);
        file.gets("was killed by signal 9");
        kill(*first, SIGKILL);
      },
      {.timeout = 30s});
  const std::string text = file.text();
  CAPTURE(text);
  CHECK(number_of(text, "allfold: report of 3 ranks\n") == 1);
  CHECK(number_of(text, " is stopped) has completed 1 collective\n") == 1);
  CHECK(number_of(text, " was killed by signal 9 (Killed)) has completed 1 collective\n") == 1);
}

TEST_CASE("what a signal did before, it does again afterwards") {
  const report_file file, other;
  std::signal(SIGUSR1, count);
  handled = 0;
  raise(SIGUSR1);
  CHECK(handled == 1);
  allfold::spawn(1, [&](thread_world& world) {
    for (int i = 0; i < 3; ++i) {
      const report_on_signal one{world, SIGUSR1, file.name};
      const auto two = std::make_unique<report_on_signal>(world, SIGUSR2, other.name);
      const auto three = std::make_unique<report_on_signal>(world, SIGUSR1, file.name);
      raise(SIGUSR1);
      CHECK(file.gets("allfold: report of 1 rank\n", static_cast<std::size_t>(i + 1)));
      CHECK(number_of(other.text(), "report") == static_cast<std::size_t>(i));
      raise(SIGUSR2);
      CHECK(other.gets("allfold: report of 1 rank\n", static_cast<std::size_t>(i + 1)));
    }
  });
  CHECK(handled == 1);
  raise(SIGUSR1);
  CHECK(handled == 2);
  std::signal(SIGUSR1, SIG_DFL);
  struct sigaction now {};
  sigaction(SIGUSR2, nullptr, &now);
  const bool by_default = now.sa_handler == SIG_DFL;
  CHECK(by_default);
  CHECK(number_of(file.text(), "report of") == 3);
}

TEST_CASE("a signal that can't be caught is refused") {
  allfold::spawn(1, [](thread_world& world) {
    const auto told = outcomes::attempt([&] { report_on_signal{world, SIGKILL}; });
    CHECK(told.how == outcomes::ending::usage);
    CHECK(told.says("signal 9 can't be caught"));
  });
}

TEST_CASE("signals as fast as they come disturb nothing") {
  const report_file file;
  allfold::spawn(2, [&](thread_world& world) {
    const report_on_signal recorder{world, SIGUSR1, file.name};
    std::vector<float> data(300, 1.0f);
    for (int i = 0; i < 300; ++i) {
      if (world.rank() == 0 && i % 3 == 0) kill(getpid(), SIGUSR1);
      allfold::all_reduce<allfold::ring>(world, data);
      data.assign(300, 1.0f);
    }
    allfold::barrier(world);
  });
  CHECK(file.gets("allfold: report of 2 ranks\n"));
}

#if !TEST_THREAD_SANITIZER  // which knows no threads in the child of several

TEST_CASE("a forked process has no helper of its own, and may make one") {
  const report_file file;
  allfold::spawn(1, [&](thread_world& world) {
    const report_on_signal recorder{world, SIGUSR1, file.name};
    const pid_t child = fork();
    if (child == 0) {
      raise(SIGUSR1);  // nobody is there to report
      const report_on_signal own{world, SIGUSR1, file.name + "_child"};
      raise(SIGUSR1);
      report_file written;
      written.name = file.name + "_child";
      _exit(written.gets("allfold: report of 1 rank\n") ? 0 : 1);
    }
    CHECK(test::wait_for_child(child, 30s) == 0);
    CHECK(file.text().empty());
  });
  std::filesystem::remove(file.name + "_child");
}

#endif
