#include <allfold/communicator/process_team.hpp>
#include <allfold/communicator/team_state.hpp>

#include "outcome.hpp"
#include "support/forked.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using allfold::processes::failure_kind;
using allfold::processes::shared_region;
using allfold::processes::team_state;
using clock_type = std::chrono::steady_clock;

/// The state of a team whose ranks are this process, unless something else is said.
struct some_state {
  shared_region region;
  team_state state;

  explicit some_state(int size)
      : region{shared_region::create(2 * team_state::bytes_for(size) + 4096)},
        state{region.data(), size} {
    state.make([](int) { return getpid(); });
  }
};

/// A process that has ended as `end` does; nobody else has its number while this lives.
template <class End>
pid_t ended_child(End end) {
  const pid_t child = fork();
  if (child == 0) {
    end();
    _exit(0);
  }
  siginfo_t told{};
  waitid(P_PID, static_cast<id_t>(child), &told, WEXITED | WNOWAIT);
  return child;
}

}  // namespace

TEST_CASE("the first failure counts, and its text is cut if it is too long") {
  const some_state it{3};
  CHECK_FALSE(it.state.failed());
  CHECK(it.state.origin() == -1);
  CHECK(it.state.text().empty());
  CHECK(it.state.fail(failure_kind::mismatch, 2, std::string(10'000, 'x')));
  CHECK_FALSE(it.state.fail(failure_kind::lost, 1, "later"));
  CHECK(it.state.failed());
  CHECK(it.state.origin() == 2);
  CHECK(it.state.kind() == failure_kind::mismatch);
  CHECK(it.state.text() == std::string(allfold::processes::team_head::longest_text, 'x'));
}

TEST_CASE("a failure that no rank has seen is recorded all the same") {
  const some_state it{2};
  CHECK(it.state.fail(failure_kind::lost, -1, "outside"));
  CHECK(it.state.origin() == -1);
  CHECK(it.state.kind() == failure_kind::lost);
  CHECK(it.state.text() == "outside");
}

TEST_CASE("who is killed or stopped while it writes down what failed is named instead") {
  for (const bool dies : {true, false}) {
    const some_state it{3};
    const pid_t writer = fork();
    if (writer == 0) {
      // As `fail` begins.
      it.state.head().failure = 1 + 4 * static_cast<int>(failure_kind::timeout) + 16 * (1 + 1);
      raise(dies ? SIGKILL : SIGSTOP);
      _exit(0);
    }
    it.state.of(1).process = writer;
    const pid_t other = ended_child([] { test::die_by(SIGSEGV); });
    it.state.of(2).process = other;
    while (!it.state.failed()) std::this_thread::yield();
    while (allfold::processes::status_of(writer).state != (dies ? 'Z' : 'T'))
      std::this_thread::yield();
    const auto begin = clock_type::now();
    const std::string text = it.state.text();
    CHECK(clock_type::now() - begin < 10s);
    CAPTURE(text);
    CHECK(it.state.origin() == 1);
    CHECK(it.state.kind() == failure_kind::timeout);
    CHECK(text.find("rank 1 (its process " + std::to_string(writer) +
                    (dies ? " has ended)" : " is stopped)") +
                    " found a failure and has not come to say which") != text.npos);
    CHECK(text.find("rank 2 (its process " + std::to_string(other) + " has ended) is gone") !=
          text.npos);
    kill(writer, SIGKILL);
    test::wait_for_child(writer, 20s);
    test::wait_for_child(other, 20s);
  }
}

TEST_CASE("how a process ended is told as its parent says, in later teams of the same ranks too") {
  const some_state it{3};
  const team_state later{it.region.data() + (team_state::bytes_for(3) + 4095) / 4096 * 4096, 2};
  later.make([](int) { return 0; });
  const pid_t child = ended_child([] { test::die_by(SIGTERM); });
  const std::string name = "its process " + std::to_string(child);
  it.state.of(2).process = child;
  later.of(0).succeed(it.state.of(2));
  CHECK(it.state.state_of(2) == name + " has ended");
  it.state.of(2).ending = 1;  // its parent will say
  std::thread parent{[&] {
    std::this_thread::sleep_for(20ms);
    const int status = test::wait_for_child(child, 20s);
    it.state.of(2).ending = 4 * status + 2;
  }};
  CHECK(it.state.state_of(2) == name + " was killed by signal 15 (Terminated)");
  parent.join();
  CHECK(later.state_of(0) == name + " was killed by signal 15 (Terminated)");
  it.state.of(2).ending = 4 * (7 << 8) + 2;
  CHECK(later.state_of(0) == name + " ended with status 7");
  it.state.of(2).left = true;
  CHECK(it.state.state_of(2).empty());
}

TEST_CASE("who says nothing of what it threw is lost") {
  const some_state it{2};
  for (int rank = 0; rank < 2; ++rank) {
    CHECK(it.state.of(rank).thrown_kind == failure_kind::lost);
    CHECK(std::string{it.state.of(rank).thrown}.empty());
  }
}

TEST_CASE("a state is done with when all ranks have left or ended") {
  const some_state it{3};
  CHECK_FALSE(it.state.all_left());
  const pid_t child = ended_child([] {});
  it.state.of(0).process = child;
  it.state.of(1).left = true;
  CHECK_FALSE(it.state.all_left());
  it.state.of(2).left = true;
  CHECK(it.state.all_left());
  test::wait_for_child(child, 20s);
}

namespace {

/// A call of one of very many places.
template <int N>
allfold::call call_from() {
  struct element {
    int number[std::size_t{N}];
  };
  return {.kind = &allfold::kind_of_call<allfold::direct::reduce, element, allfold::sum>,
          .count = N,
          .root = -N};
}
template <int... N>
std::vector<allfold::call> calls_from(std::integer_sequence<int, N...>) {
  return {call_from<N + 1>()...};
}

}  // namespace

TEST_CASE("a rank's calls are told as it made them, however many places there are") {
  const some_state it{1};
  allfold::processes::seat& own = it.state.of(0);
  allfold::processes::call_speaker speaker{own.sites};
  constexpr int places = 300;  // more than are kept
  const auto calls = calls_from(std::make_integer_sequence<int, places>{});
  for (std::uint64_t number = 0; number < places; ++number) {
    own.said.keep(number, packed(speaker.spoken(calls[number])));
    const std::string words = it.state.words_of(0, number);
    CAPTURE(words);
    const std::string count = std::to_string(number + 1);
    CHECK(words.find("reduce #" + std::to_string(number) + " (") == 0);
    CHECK(words.find(", " + count + " x ") != words.npos);
    CHECK(words.find(", root -" + count) != words.npos);
    CHECK((words.find("direct") != words.npos) == (number < allfold::processes::call_sites::most));
  }
  CHECK(it.state.words_of(0, places - 1).find("one of many places") != std::string::npos);
  CHECK(it.state.words_of(0, 8) == "collective #8");  // no longer kept
}
