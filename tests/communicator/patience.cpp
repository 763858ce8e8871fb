#include <allfold/communicator/patience.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <ctime>
#include <thread>

namespace {

using allfold::patience;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

/// Looks until the first that costs more is due.
int cheap_looks(patience& waiting) {
  int looks = 1;
  while (!waiting.pass()) ++looks;
  return looks;
}

std::chrono::duration<double> cpu_time_of_this_thread() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::duration<double>{static_cast<double>(now.tv_sec) +
                                       1e-9 * static_cast<double>(now.tv_nsec)};
}

}  // namespace

TEST_CASE("while every rank has a core, most looks are cheap") {
  patience waiting{false, 1h};
  CHECK(cheap_looks(waiting) == 256);
  CHECK(cheap_looks(waiting) == 256);
}

TEST_CASE("where there are more ranks than cores, the core is given away soon") {
  patience waiting{true, 1h};
  CHECK(cheap_looks(waiting) < 64);
  for (int i = 0; i < 100; ++i) CHECK(waiting.pass());
}

TEST_CASE("the limit is over after the limit, counted from the first question") {
  patience waiting{false, 50ms};
  CHECK(waiting.limit() == 50ms);
  std::this_thread::sleep_for(60ms);
  const auto begin = clock_type::now();
  bool over = waiting.expired();
  const auto asked = clock_type::now();
  if (asked - begin < 50ms) CHECK_FALSE(over);  // unless this thread was held up in between
  while (!over) {
    std::this_thread::sleep_for(1ms);
    over = waiting.expired();
  }
  CHECK(clock_type::now() - begin >= 50ms);
  CHECK(waiting.expired());
}

TEST_CASE("a limit that is over may be put off by a tenth, again and again, to twice the limit") {
  patience waiting{true, 50ms};
  const auto begin = clock_type::now();
  int times = 0;
  for (;;) {
    while (!waiting.expired()) std::this_thread::sleep_for(100us);
    if (!waiting.put_off()) break;
    ++times;
    CHECK(waiting.limit() > 50ms);
    CHECK(waiting.limit() <= 100ms);
  }
  CHECK(clock_type::now() - begin >= 100ms);
  CHECK(waiting.limit() == 100ms);
  CHECK(times >= 1);
  CHECK(times <= 10);
  CHECK(waiting.expired());
}

TEST_CASE("no time at all is over at once, and an hour is not") {
  patience none{false, 0ms};
  CHECK(none.expired());
  patience hour{false, 1h};
  for (int i = 0; i < 1000; ++i) {
    hour.pass();
    CHECK_FALSE(hour.expired());
  }
}

TEST_CASE("a long wait costs little") {
  for (const bool crowded : {false, true}) {
    patience waiting{crowded, 1h};
    const auto end = clock_type::now() + 600ms;
    const auto spent = cpu_time_of_this_thread();
    while (clock_type::now() < end) waiting.pass();
    CHECK(cpu_time_of_this_thread() - spent < 300ms);
  }
}

TEST_CASE("who has waited for long sleeps between two looks") {
  for (const bool crowded : {false, true}) {
    patience waiting{crowded, 1h};
    for (int i = 0; i < 6200; ++i) waiting.pass();  // on a busy machine time says little
    for (int i = 0; i < 20; ++i) {
      const auto before = clock_type::now();
      waiting.pass();
      CHECK(clock_type::now() - before >= 100us);  // a sleep never ends too early
    }
  }
}

TEST_CASE("a long wait still looks often") {
  patience waiting{true, 1h};
  const auto begin = clock_type::now();
  while (clock_type::now() < begin + 100ms) waiting.pass();  // asleep most of the time by now
  int looks = 0;
  for (const auto end = clock_type::now() + 500ms; clock_type::now() < end; ++looks) waiting.pass();
  CHECK(looks > 50);
}
