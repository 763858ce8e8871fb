// Something happens to a rank that is a process, at every step of every schedule and everywhere
// else. All others are told who it is, what became of it, and where it was.
//
// With ALLFOLD_TEST_EVERY_FAULT in the environment everything that can happen is tried everywhere;
// without it, as much as takes half a minute.

#include "support/process_faults.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace process_faults;

/// One in `share` of the places, always the same ones; all of them if that is asked for.
std::vector<experiment> some_places(const std::vector<subject>& subjects, fault what,
                                    std::size_t share) {
  std::vector<experiment> places = all_places(subjects, what);
  REQUIRE(places.size() > 500);
  if (std::getenv("ALLFOLD_TEST_EVERY_FAULT") != nullptr) return places;
  std::shuffle(places.begin(), places.end(), std::mt19937{20240607});
  places.resize((places.size() + share - 1) / share);
  return places;
}

void check(const std::vector<experiment>& places, int worlds) {
  const std::string wrong = test::in_processes(
      worlds, places.size(), 30min, [&](std::size_t i) { return try_out(places[i]).wrong; });
  MESSAGE(places.size(), " places");
  CHECK_MESSAGE(wrong.empty(), wrong);
}

}  // namespace

TEST_CASE("without a fault nothing is wrong") {
  const std::vector<subject> subjects = all_subjects();
  std::vector<experiment> places;
  for (const subject& it : subjects)
    for (int size = 2; size <= 4; ++size)
      for (const memory place : {memory::own, memory::arena, memory::copied})
        places.push_back({&it, size, 0, fault::none, phase::between, 0, place});
  const std::string wrong = test::in_processes(2, places.size(), 5min, [&](std::size_t i) {
    test::shared_with_children<findings> found;
    std::string told;
    for (const allfold::process_ending& each : run(places[i], *found))
      if (!each.good()) told += "\n" + in_words(places[i]) + ": " + each.in_words();
    return told;
  });
  CHECK_MESSAGE(wrong.empty(), wrong);
}

TEST_CASE("a rank is killed anywhere") { check(some_places(all_subjects(), fault::killed, 2), 4); }

TEST_CASE("a rank ends in another way anywhere") {
  const std::vector<subject> subjects = all_subjects();
  std::vector<experiment> places;
  for (const fault what : all_faults)
    if (!is_silent(what) && what != fault::killed && is_possible(what))
      for (const experiment& each : some_places(subjects, what, 12)) places.push_back(each);
  check(places, 4);
}

TEST_CASE("a rank is stopped anywhere") {
  check(some_places(all_subjects(), fault::stopped, 12), 16);
}

TEST_CASE("a rank never comes out of a loop, anywhere") {
  check(some_places(all_subjects(), fault::endless_loop, 60), 3);
}
