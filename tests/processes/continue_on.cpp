// Trainings by processes of which some are killed or stopped: the others finish them.
#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "data_parallel/surviving.hpp"
#include "support/shared_with_children.hpp"

#include <doctest/doctest.h>

#include <csignal>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace surviving;
using allfold::buckets;
using allfold::direct;
using allfold::distributed;
using allfold::interrupted;
using allfold::overlap;
using allfold::primary_device;
using allfold::process_ending;
using allfold::ring;
using allfold::tree;
using allfold::processes::copying;
using allfold::processes::options;

using small_buckets = buckets<16, 64>;

constexpr int most = 5;
const options patient{.timeout = 60s, .arena_bytes = std::size_t{64} << 20};

/// What happens to a rank.
struct loss {
  int rank;
  moment when;
  std::uint64_t step;
  int signal = SIGKILL;
  int microseconds = 0;  ///< later
};

struct results {
  result of[most];
};

/// Runs a training with these losses, and checks what those that are left have come to.
template <class Strategy>
void check_training(int size, const std::vector<loss>& losses, const plan& given,
                    const options& how = patient) {
  test::shared_with_children<results> all;
  const auto endings = allfold::try_spawn_processes(
      size,
      [&](allfold::processes::communicator& world) {
        const int before = world.rank();
        train<Strategy>(world, all->of[before], given, [&](moment when, std::uint64_t step) {
          for (const loss& each : losses) {
            if (each.rank != before) continue;
            while (step > each.step + 4) pause();  // until it happens
            if (each.when != when || each.step != step) continue;
            if (each.microseconds == 0) raise(each.signal);
            std::thread{[each] {
              std::this_thread::sleep_for(std::chrono::microseconds{each.microseconds});
              kill(getpid(), each.signal);
            }}.detach();
          }
        });
      },
      how);
  const result* first = nullptr;
  int left = 0;
  for (const process_ending& each : endings) {
    const result& its = all->of[each.rank];
    CAPTURE(each.rank);
    CAPTURE(its.failed);
    const bool is_lost = std::any_of(losses.begin(), losses.end(),
                                     [&](const loss& it) { return it.rank == each.rank; });
    REQUIRE(its.finished == !is_lost);
    if (is_lost) continue;
    CHECK_MESSAGE(each.good(), each.in_words());
    if (first == nullptr) first = &its;
    CHECK(its.rank == left++);
    CHECK(its.steps == its.history.size);
    CHECK(its.state.same_bits(first->state));
  }
  REQUIRE(first != nullptr);
  CHECK(first->size == left);
  CHECK(first->failures > 0);
  CHECK(flaw_in(first->history, size, given.how == interrupted::drop ? first->failures : 0) == "");
  const auto counts = expected_counts(first->history);
  CHECK(std::equal(counts.begin(), counts.end(), first->state.counts.begin()));
  if (std::is_same_v<Strategy, distributed<direct, small_buckets>> || !Strategy::steps_everywhere)
    CHECK(first->state.same_bits(trained_serially(first->history, false)));
}

/// Loses one rank, at every moment, or at every `stride`-th.
template <class Strategy>
void check_losses(plan given, int first_culprit = 0, int stride = 1) {
  int turn = 0;
  for (int size = 2; size <= most; ++size)
    for (const moment when : all_moments) {
      if (when == moment::in_optimizer && !Strategy::steps_everywhere) continue;
      const int culprit = first_culprit + turn++ % (size - first_culprit);
      if (turn % stride != 0) continue;
      options how = patient;
      how.copying = turn % 2 == 0 ? copying::once : copying::through_region;
      CAPTURE(size);
      CAPTURE(culprit);
      CAPTURE(static_cast<int>(when));
      check_training<Strategy>(size, {{culprit, when, static_cast<std::uint64_t>(2 + turn % 4)}},
                               given, how);
    }
}

}  // namespace

TEST_CASE("a rank is killed at any moment of a step, which the others repeat or drop") {
  check_losses<distributed<direct, small_buckets>>({.overlap = overlap::none});
  check_losses<distributed<direct, small_buckets>>(
      {.how = interrupted::drop, .overlap = overlap::by_thread});
}

TEST_CASE("by other algorithms and strategies too") {
  check_losses<distributed<ring, small_buckets>>({.overlap = overlap::by_thread}, 0, 3);
  check_losses<distributed<tree, buckets<>>>({}, 0, 2);
  check_losses<primary_device<0, small_buckets>>({.overlap = overlap::by_thread}, 1, 3);
}

TEST_CASE("a rank is stopped") {
  const options impatient{.timeout = 1s, .arena_bytes = std::size_t{64} << 20};
  const plan given{.overlap = overlap::by_thread, .shrinks = {.timeout = 500ms}};
  check_training<distributed<direct, small_buckets>>(3, {{1, moment::in_engine, 3, SIGSTOP}}, given,
                                                     impatient);
  check_training<distributed<direct, small_buckets>>(
      4, {{0, moment::before_backward, 2, SIGSTOP, 50}}, given, impatient);
}

TEST_CASE("several ranks are killed at any moment, down to one") {
  std::mt19937 random{29};
  for (int round = 0; round < 25; ++round) {
    const int size = 2 + static_cast<int>(random() % 4);
    std::vector<loss> losses;
    const auto spared = static_cast<int>(random() % static_cast<unsigned>(size));
    for (int rank = 0; rank < size; ++rank)
      if (rank != spared && (losses.empty() || random() % 2 == 0))
        losses.push_back({rank, all_moments[random() % 5], random() % 6, SIGKILL,
                          static_cast<int>(random() % 300)});
    CAPTURE(round);
    check_training<distributed<direct, small_buckets>>(
        size, losses,
        {.how = random() % 2 == 0 ? interrupted::repeat : interrupted::drop,
         .overlap = random() % 2 == 0 ? overlap::none : overlap::by_thread});
  }
}
