#include <allfold/communicator/kept_calls.hpp>

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace {

using allfold::host::kept_calls;
using allfold::host::remembered;
using calls = kept_calls<5>;

/// Five words that belong together.
calls::words words_for(std::uint64_t number) {
  const std::uint64_t mixed = number * 0x9e3779b97f4a7c15u;
  return {number, mixed, ~number, mixed ^ number, number + 1};
}

}  // namespace

TEST_CASE("the last calls are kept, and no others") {
  const auto kept = std::make_unique<calls>();
  calls::words found{};
  for (std::uint64_t number = 0; number < 3 * remembered; ++number) {
    CHECK_FALSE(kept->read(number, found));
    kept->keep(number, words_for(number));
    for (std::uint64_t each = 0; each <= number; ++each) {
      const bool there = kept->read(each, found);
      CHECK(there == (each + remembered > number));
      if (there) CHECK(found == words_for(each));
    }
  }
}

TEST_CASE("who reads while a call is written gets all of it or nothing") {
  const auto kept = std::make_unique<calls>();
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> written{0};
  std::atomic<std::uint64_t> torn{0}, whole{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i)
    readers.emplace_back([&] {
      calls::words found{};
      while (!done) {
        const std::uint64_t last = written.load(std::memory_order_relaxed);
        for (std::uint64_t number = last; number < last + 3; ++number)
          if (kept->read(number, found)) ++(found == words_for(number) ? whole : torn);
      }
    });
  for (std::uint64_t number = 0; number < 400'000 || whole < 1000; ++number) {
    kept->keep(number, words_for(number));
    written.store(number, std::memory_order_relaxed);
  }
  done = true;
  for (std::thread& each : readers) each.join();
  CHECK(torn == 0);
  CHECK(whole >= 1000);
}
