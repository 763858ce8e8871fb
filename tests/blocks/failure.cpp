// What ranks on blocks are told when one of them calls another collective, comes late, stops or
// never comes: the report names the right rank, and nobody hangs.
#include <allfold/allfold.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "support/blocks.hpp"
#include "support/failures.hpp"

namespace {

using allfold::entered;
using std::chrono::milliseconds;
using test::blocks;
using test::grid;
using test::device::failure_kind;
using test::device::failure_report;

/// Longer than a rank that is there is kept from running on a busy machine.
constexpr milliseconds patience{500};
/// Within this time a rank must have heard of a failure, however busy the machine is.
constexpr std::chrono::seconds soon{60};

/// A rank's elements. They outlive the collective: where one rank has given up, another may still
/// be folding.
struct elements {
  std::vector<float> input, output;
};
using collective = std::function<void(blocks&, elements&)>;

/// How a rank's part ended.
struct ending {
  bool failed = false;
  failure_report report{};
  std::chrono::nanoseconds took{};
};

/// Runs ranks that keep their blocks and their elements until all have ended.
std::vector<ending> run_ranks(int ranks, grid shape, std::chrono::nanoseconds longest_wait,
                              const collective& body) {
  std::vector<ending> all(static_cast<std::size_t>(ranks));
  std::vector<elements> memory(all.size());
  allfold::spawn(ranks, [&](allfold::threads::communicator& control) {
    blocks world{control, shape, longest_wait};
    const auto rank = static_cast<std::size_t>(control.rank());
    ending& mine = all[rank];
    const auto begin = std::chrono::steady_clock::now();
    try {
      body(world, memory[rank]);
    } catch (const test::kernel_failed& failed) {
      mine = {true, failed.report, {}};
    }
    mine.took = std::chrono::steady_clock::now() - begin;
  });
  return all;
}

/// A collective by its name, and whether no rank can end it without all the others.
struct named {
  const char* name;
  collective call;
  bool needs_everyone;
};

constexpr std::size_t length = 300;

std::size_t whole(const blocks& world) { return length * static_cast<std::size_t>(world.size()); }

template <class Algorithm>
void all_reduce(blocks& world, elements& mine) {
  mine.output.resize(length);
  allfold::all_reduce<Algorithm>(world, mine.output);
}
template <class Algorithm>
void reduce(blocks& world, elements& mine) {
  mine.output.resize(length);
  allfold::reduce<Algorithm>(world, mine.output, 1);
}
template <class Algorithm>
void broadcast(blocks& world, elements& mine) {
  mine.output.resize(length);
  allfold::broadcast<Algorithm>(world, mine.output, 1);
}
template <class Algorithm>
void reduce_scatter(blocks& world, elements& mine) {
  mine = {std::vector<float>(whole(world)), std::vector<float>(length)};
  allfold::reduce_scatter<Algorithm>(world, mine.input, mine.output);
}
template <class Algorithm>
void all_gather(blocks& world, elements& mine) {
  mine = {std::vector<float>(length), std::vector<float>(whole(world))};
  allfold::all_gather<Algorithm>(world, mine.input, mine.output);
}
template <bool InPlace>
void all_to_all(blocks& world, elements& mine) {
  mine = {std::vector<float>(whole(world)), std::vector<float>(whole(world))};
  allfold::all_to_all(world, InPlace ? mine.output : mine.input, mine.output);
}
void scatter(blocks& world, elements& mine) {
  mine = {std::vector<float>(whole(world)), std::vector<float>(length)};
  allfold::scatter(world, mine.input, mine.output, 1);
}
void gather(blocks& world, elements& mine) {
  mine = {std::vector<float>(length), std::vector<float>(whole(world))};
  allfold::gather(world, mine.input, mine.output, 1);
}
template <class Algorithm>
void barrier(blocks& world, elements&) {
  allfold::barrier<Algorithm>(world);
}
/// So short that it goes through slots, and every lane has some of it.
void short_all_reduce(blocks& world, elements& mine) {
  mine.output.resize(20);
  allfold::all_reduce<allfold::direct>(world, mine.output);
}

const std::vector<named>& collectives() {
  using namespace allfold;
  static const std::vector<named> all{
      {"all_reduce<direct>", ::all_reduce<direct>, true},
      {"all_reduce<ring>", ::all_reduce<ring>, true},
      {"all_reduce<tree>", ::all_reduce<tree>, true},
      {"all_reduce<halving_doubling>", ::all_reduce<halving_doubling>, true},
      {"all_reduce<primary<0>>", ::all_reduce<primary<0>>, true},
      {"all_reduce<primary<1>>", ::all_reduce<primary<1>>, true},
      {"a short all_reduce", short_all_reduce, true},
      {"reduce<direct>", ::reduce<direct>, true},
      {"reduce<ring>", ::reduce<ring>, false},
      {"reduce<tree>", ::reduce<tree>, false},
      {"reduce<primary<>>", ::reduce<primary<>>, false},
      {"broadcast<direct>", ::broadcast<direct>, false},
      {"broadcast<ring>", ::broadcast<ring>, false},
      {"broadcast<tree>", ::broadcast<tree>, false},
      {"reduce_scatter<direct>", ::reduce_scatter<direct>, true},
      {"reduce_scatter<ring>", ::reduce_scatter<ring>, true},
      {"all_gather<direct>", ::all_gather<direct>, true},
      {"all_gather<ring>", ::all_gather<ring>, true},
      {"all_to_all", ::all_to_all<false>, true},
      {"all_to_all in place", ::all_to_all<true>, true},
      {"scatter", ::scatter, false},
      {"gather", ::gather, false},
      {"barrier<direct>", ::barrier<direct>, true},
      {"barrier<dissemination>", ::barrier<dissemination>, true}};
  return all;
}

std::string text_of(const failure_report& it) {
  return "kind " + std::to_string(static_cast<int>(it.kind)) + ", rank " + std::to_string(it.rank) +
         ", lane " + std::to_string(it.lane) + ", peer " + std::to_string(it.peer) + ", step " +
         std::to_string(it.step) + ", call " + std::to_string(it.call);
}

bool same(const failure_report& a, const failure_report& b) {
  return a.kind == b.kind && a.rank == b.rank && a.lane == b.lane && a.peer == b.peer &&
         a.step == b.step && a.call == b.call;
}

/// What a test expects of a report that all ranks get, but for those in `exempt`, who may.
struct expectation {
  std::string what;
  int lanes;
  failure_kind kind;
  std::uint64_t call;
  std::function<bool(const failure_report&)> names_the_culprit;
  std::function<bool(int rank)> exempt = [](int) { return false; };
};

void check(const expectation& expected, const std::vector<ending>& all, test::failures& list) {
  const failure_report* first = nullptr;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const auto complain = [&](const std::string& about) {
      list.add(expected.what + ", rank " + std::to_string(rank) + " of " +
               std::to_string(all.size()) + ": " + about);
    };
    if (all[rank].took > soon) complain("heard of it late");
    if (!all[rank].failed) {
      if (!expected.exempt(static_cast<int>(rank))) complain("was told nothing");
      continue;
    }
    const failure_report& it = all[rank].report;
    if (first == nullptr) first = &it;
    if (!same(*first, it)) complain("was told something else: " + text_of(it));
    if (it.kind != expected.kind || it.call != expected.call || it.lane < 0 ||
        it.lane >= expected.lanes || !expected.names_the_culprit(it))
      complain("was told the wrong thing: " + text_of(it));
  }
  if (first == nullptr) list.add(expected.what + ": nobody was told anything");
}

/// Distance from one rank to another, going up.
int distance(int from, int to, int size) { return (to - from + size) % size; }

}  // namespace

TEST_CASE("a rank that calls another collective is found out") {
  test::failures list;
  int turn = 0;
  for (const named& it : collectives())
    for (const int ranks : {2, 3, 4}) {
      const grid shape = ranks == 3 ? grid{1, 1} : grid{3, 2};
      const int odd = turn++ / 2 % ranks;
      const auto all =
          run_ranks(ranks, shape, std::chrono::minutes{2}, [&](blocks& world, elements& mine) {
            ::all_reduce<allfold::ring>(world, mine);
            short_all_reduce(world, mine);
            if (world.rank() == odd) world.disagree_by(0x9e3779b97f4a7c15);
            it.call(world, mine);
          });
      check({.what = it.name,
             .lanes = shape.lanes,
             .kind = failure_kind::mismatch,
             .call = 2,
             .names_the_culprit =
                 [=](const failure_report& report) {
                   return (report.rank == odd) != (report.peer == odd) && report.step == entered;
                 },
             .exempt = [&](int rank) { return !it.needs_everyone && rank != odd; }},
            all, list);
    }
  CHECK_NONE(list);
}

TEST_CASE("a short message and a long one are not the same collective") {
  test::failures list;
  for (const bool one_is_short : {false, true})
    for (const int ranks : {2, 4}) {
      const int odd = ranks - 1;
      const auto all =
          run_ranks(ranks, {3, 2}, std::chrono::minutes{2}, [&](blocks& world, elements& mine) {
            ::barrier<allfold::direct>(world, mine);
            if ((world.rank() == odd) == one_is_short)
              short_all_reduce(world, mine);
            else
              ::all_reduce<allfold::ring>(world, mine);
          });
      check({.what = "short and long",
             .lanes = 2,
             .kind = failure_kind::mismatch,
             .call = 1,
             .names_the_culprit =
                 [=](const failure_report& report) {  // who waits in its slots finds out
                   return (report.rank == odd) == one_is_short &&
                          (report.peer == odd) != one_is_short && report.step == entered;
                 }},
            all, list);
    }
  CHECK_NONE(list);
}

TEST_CASE("a rank that never comes is waited for as long as said") {
  test::failures list;
  const std::vector<named> calls{{"direct", ::all_reduce<allfold::direct>, true},
                                 {"short", short_all_reduce, true},
                                 {"barrier", ::barrier<allfold::direct>, true},
                                 {"all_to_all", ::all_to_all<false>, true}};
  for (const named& it : calls)
    for (const int ranks : {2, 4}) {
      const grid shape = ranks == 2 ? grid{3, 2} : grid{1, 1};
      const int absent = ranks / 2;
      const auto all = run_ranks(ranks, shape, patience, [&](blocks& world, elements& mine) {
        if (world.rank() != absent) it.call(world, mine);
      });
      check({.what = it.name,
             .lanes = shape.lanes,
             .kind = failure_kind::timeout,
             .call = 0,
             .names_the_culprit =
                 [=](const failure_report& report) {
                   return report.rank != absent && report.peer == absent && report.step == entered;
                 },
             .exempt = [=](int rank) { return rank == absent; }},
            all, list);
      for (int rank = 0; rank < ranks; ++rank) {
        const ending& its = all[static_cast<std::size_t>(rank)];
        if (its.failed && its.report.rank == rank && its.took < patience)
          list.add(std::string{it.name} + ": rank " + std::to_string(rank) + " did not wait");
      }
    }
  CHECK_NONE(list);
}

TEST_CASE("in a ring without one rank each waits for the step that it lacks") {
  test::failures list;
  for (const int ranks : {2, 3, 5})
    for (const int absent : {0, ranks - 1}) {
      const auto all = run_ranks(ranks, {1, 2}, patience, [&](blocks& world, elements& mine) {
        if (world.rank() != absent) ::all_reduce<allfold::ring>(world, mine);
      });
      check({.what = "ring",
             .lanes = 2,
             .kind = failure_kind::timeout,
             .call = 0,
             .names_the_culprit =
                 [=](const failure_report& report) {
                   const int behind = distance(absent, report.rank, ranks);
                   return distance(report.peer, report.rank, ranks) == 1 && behind > 0 &&
                          report.step == (behind == 1 ? entered : behind - 2);
                 },
             .exempt = [=](int rank) { return rank == absent; }},
            all, list);
    }
  CHECK_NONE(list);
}

namespace {

/// A sum that stands still while it is told to.
struct held_sum {
  const std::atomic<bool>* hold;

  float operator()(float a, float b) const {
    while (hold != nullptr && *hold) std::this_thread::sleep_for(milliseconds{1});
    return a + b;
  }
};

/// Runs an all_reduce in which one rank stops in its first step until the others have given up.
template <class Algorithm>
std::vector<ending> stop_in_a_step(int ranks, grid shape, int stopped) {
  std::atomic<bool> hold{true};
  std::atomic<int> left{ranks - 1};
  return run_ranks(ranks, shape, patience, [&](blocks& world, elements& mine) {
    const bool stops = world.rank() == stopped;
    mine.output.resize(length);
    struct at_the_end {
      std::function<void()> act;
      ~at_the_end() { act(); }
    } const release{[&] {
      if (!stops && --left == 0) hold = false;
    }};
    allfold::all_reduce<Algorithm>(world, mine.output, held_sum{stops ? &hold : nullptr});
  });
}

}  // namespace

TEST_CASE("a rank that stops in a step is named with that step") {
  test::failures list;
  for (const int ranks : {2, 3}) {
    const auto ring = stop_in_a_step<allfold::ring>(ranks, {3, 2}, ranks - 1);
    check({.what = "ring",
           .lanes = 2,
           .kind = failure_kind::timeout,
           .call = 0,
           .names_the_culprit =
               [=](const failure_report& report) {
                 const int behind = distance(ranks - 1, report.rank, ranks);
                 return distance(report.peer, report.rank, ranks) == 1 && behind > 0 &&
                        report.step == behind - 1;
               }},
          ring, list);
    const auto direct = stop_in_a_step<allfold::direct>(ranks, {1, 1}, 0);
    check({.what = "direct",
           .lanes = 1,
           .kind = failure_kind::timeout,
           .call = 0,
           .names_the_culprit =
               [](const failure_report& report) {
                 return report.rank != 0 && report.peer == 0 && report.step == 0;
               },
           .exempt = [](int rank) { return rank == 0; }},  // it waits for nobody any more
          direct, list);
    const auto primary = stop_in_a_step<allfold::primary<1>>(ranks, {3, 1}, 1);
    check({.what = "primary",
           .lanes = 1,
           .kind = failure_kind::timeout,
           .call = 0,
           .names_the_culprit =
               [](const failure_report& report) {
                 return report.rank != 1 && report.peer == 1 && report.step == 0;
               },
           .exempt = [](int rank) { return rank == 1; }},
          primary, list);
  }
  CHECK_NONE(list);
}

TEST_CASE("who comes after the others have given up is told why") {
  test::failures list;
  std::atomic<int> left{2};
  const auto all = run_ranks(3, {3, 2}, patience, [&](blocks& world, elements& mine) {
    struct leaving {
      std::atomic<int>& left;
      ~leaving() { --left; }
    };
    if (world.rank() == 1) {
      while (left > 0) std::this_thread::yield();
      ::all_reduce<allfold::direct>(world, mine);
    } else {
      const leaving at_the_end{left};
      ::all_reduce<allfold::direct>(world, mine);
    }
  });
  check({.what = "late",
         .lanes = 2,
         .kind = failure_kind::timeout,
         .call = 0,
         .names_the_culprit =
             [](const failure_report& report) {
               return report.rank != 1 && report.peer == 1 && report.step == entered;
             }},
        all, list);
  CHECK_NONE(list);
}

TEST_CASE("ranks leave as soon as the host says so") {
  test::failures list;
  for (const collective& call :
       {collective{short_all_reduce}, collective{::all_reduce<allfold::tree>}}) {
    const auto all =
        run_ranks(3, {3, 2}, std::chrono::minutes{2}, [&](blocks& world, elements& mine) {
          if (world.rank() != 0) return call(world, mine);
          std::this_thread::sleep_for(milliseconds{20});
          std::atomic_ref{world.group().failure->stopped}.store(7);
        });
    for (const std::size_t rank : {1u, 2u}) {
      const ending& its = all[rank];
      if (!its.failed || its.took > soon || its.report.stopped != 7 ||
          its.report.word != failure_report::free)
        list.add("rank " + std::to_string(rank) + " goes on");
    }
  }
  CHECK_NONE(list);
}
