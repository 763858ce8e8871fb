// What is said of a rank that others look at now and then.
#include <allfold/communicator/standing.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <string>

namespace {

using namespace std::chrono_literals;
using allfold::host::sighting;
using allfold::host::standing;

/// A rank that is inside its collective number `completed`, after so many turns.
standing inside(std::uint64_t completed, std::uint64_t turns) {
  standing its{};
  its.completed = completed;
  its.turns = turns;
  its.inside = true;
  return its;
}
bool says(const sighting& seen, const std::string& part) {
  return seen.in_words().find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a rank that does not move has not done so since it was looked at first") {
  const auto begin = sighting::clock::now() - 5s;
  sighting seen;
  for (int i = 0; i <= 50; ++i) seen.look(inside(3, 7), begin + i * 10ms);
  CHECK(seen.since() == begin);
  CHECK_MESSAGE(says(seen, "has not moved for at least 5"), seen.in_words());
}

TEST_CASE("a rank that moves while it is watched was seen to move then") {
  const auto begin = sighting::clock::now() - 5s;
  sighting seen;
  for (int i = 0; i <= 50; ++i) seen.look(inside(3, i < 20 ? 7 : 8), begin + i * 10ms);
  CHECK(seen.since() == begin + 200ms);
  CHECK_MESSAGE(says(seen, "was last seen to move 4"), seen.in_words());
}

TEST_CASE("of a rank that has moved while nobody looked it is only known where it is now") {
  const auto begin = sighting::clock::now() - 5s;
  sighting seen;
  seen.look(inside(3, 7), begin);
  seen.look(inside(4, 9), begin + 2s);
  CHECK(seen.since() == begin + 2s);
  CHECK_MESSAGE(says(seen, "has not moved for at least "), seen.in_words());
  seen.look(inside(4, 10), begin + 2010ms);  // now it is watched
  CHECK_MESSAGE(says(seen, "was last seen to move "), seen.in_words());
}
