#include <allfold/communicator/process_watch.hpp>

#include "support/forked.hpp"

#include <doctest/doctest.h>

#include <sys/prctl.h>
#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <string>
#include <thread>

namespace {

using allfold::processes::process_watch;
using allfold::processes::status_of;
using namespace std::chrono_literals;

/// A child that waits for a signal.
pid_t idle_child() {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  return child;
}

/// Looks until it is so, or for a long time.
template <class Look>
bool becomes_true(Look look) {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (!look() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(200us);
  return look();
}

}  // namespace

TEST_CASE("this process runs, and began when it says") {
  const auto own = status_of(getpid());
  CHECK(own.state == 'R');
  CHECK(own.begin > 0);
  process_watch watch{getpid(), own.begin};
  CHECK_FALSE(watch.ended());
  CHECK_FALSE(watch.stopped());
  CHECK(watch.in_words() == "its process " + std::to_string(getpid()) + " is running");
}

TEST_CASE("a process is seen to sleep, to be stopped, to go on and to end") {
  const pid_t child = idle_child();
  process_watch watch{child, 0};
  const std::string name = "its process " + std::to_string(child);
  CHECK(becomes_true([&] { return watch.in_words() == name + " sleeps"; }));
  kill(child, SIGSTOP);
  CHECK(becomes_true([&] { return watch.stopped(); }));
  CHECK(watch.in_words() == name + " is stopped");
  CHECK_FALSE(watch.ended());
  kill(child, SIGCONT);
  CHECK(becomes_true([&] { return !watch.stopped(); }));
  kill(child, SIGKILL);
  CHECK(becomes_true([&] { return watch.ended(); }));  // though nobody has waited for it yet
  CHECK(watch.in_words() == name + " has ended");
  CHECK_FALSE(watch.stopped());
  CHECK(process_watch{child, 0}.ended());
  test::wait_for_child(child, 20s);
  CHECK(watch.ended());
  CHECK(process_watch{child, 0}.ended());
}

TEST_CASE("a process that got another's number is not taken for it") {
  const pid_t child = idle_child();
  const auto begin = status_of(child).begin;
  CHECK_FALSE(process_watch{child, begin}.ended());
  CHECK(process_watch{child, begin - 1}.ended());
  kill(child, SIGKILL);
  test::wait_for_child(child, 20s);
}

TEST_CASE("a program's name may hold anything") {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_NAME, "a) R 1 (b) Z");
    _exit(status_of(getpid()).begin == status_of(getppid()).begin ? 1
          : status_of(getpid()).state == 'R'                      ? 0
                                                                  : 2);
  }
  std::this_thread::sleep_for(1ms);
  const int status = test::wait_for_child(child, 20s);
  CHECK(WIFEXITED(status));
  CHECK((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 1));  // 1: begun in the same tick
}

TEST_CASE("where no file can be opened, who lives is not taken for dead, and who is gone is") {
  const pid_t alive = idle_child();
  const pid_t dead = idle_child();
  kill(dead, SIGKILL);
  test::wait_for_child(dead, 20s);
  const auto begin = status_of(alive).begin;
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_NOFILE, &none);
    if (status_of(alive).state != '?') _exit(1);
    process_watch watch{alive, begin};
    if (watch.ended() || watch.stopped()) _exit(2);
    if (watch.in_words() != "its process " + std::to_string(alive) + " lives") _exit(3);
    if (!process_watch{dead, 0}.ended()) _exit(4);
    kill(alive, SIGKILL);
    _exit(0);
  }
  const int status = test::wait_for_child(child, 20s);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  test::wait_for_child(alive, 20s);
}

TEST_CASE("nothing is known of no process") {
  process_watch none;
  CHECK_FALSE(none.ended());
  CHECK(none.in_words() == "its process is not known");
}
