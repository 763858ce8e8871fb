// Short messages through slots on blocks: every size of element, and counters that wrap around.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/ring.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "shapes.hpp"
#include "support/folding.hpp"

namespace {

using test::job;
using test::random_bits;
using test::world;

template <class T>
inline constexpr std::size_t longest = world::small_bytes / sizeof(T);

/// Tells this rank's lanes how many messages have gone through slots. All ranks must tell the same.
void set_shots(world& mine, std::uint64_t shots) {
  for (int lane = 0; lane < test::current_grid.lanes; ++lane)
    mine.group().states[mine.rank()][lane].shots = shots;
}

/// An all-reduce of `count` unsigned numbers that differ from round to round, checked.
void shoot(world& mine, std::size_t count, unsigned round, test::failures& list) {
  const auto rank = static_cast<unsigned>(mine.rank());
  const auto ranks = static_cast<unsigned>(mine.size());
  std::vector<unsigned> data(count);
  for (unsigned i = 0; i < count; ++i) data[i] = 1'000'000 * round + 1000 * i + rank;
  allfold::all_reduce<allfold::direct>(mine, data);
  for (unsigned i = 0; i < count; ++i)
    if (data[i] != ranks * (1'000'000 * round + 1000 * i) + ranks * (ranks - 1) / 2) {
      list.add("round " + std::to_string(round) + ", rank " + std::to_string(rank) + ", element " +
               std::to_string(i) + " of " + std::to_string(count));
      break;
    }
}

void pause_now_and_then(random_bits& random) {
  for (auto pauses = random.below(4) == 0 ? random.below(50) : 0; pauses > 0; --pauses)
    std::this_thread::yield();
}

}  // namespace

TEST_CASE("short messages of every type") {
  test::failures list;
  random_bits random{1};
  test::shapes_in_turn shapes;
  test::for_each_numbered(test::tested_types{}, [&](auto element, [[maybe_unused]] auto number) {
    using T = typename decltype(element)::of;
    if constexpr (alignof(T) <= 16) {
      using wished = test::picked<number, test::every_operation>;
      using operation = std::conditional_t<test::suits<wished, T>, wished, allfold::sum>;
      const auto what = test::all_reduce_by<allfold::direct, T, operation>();
      const test::shape& on = shapes.next(what.least_ranks);
      std::vector<job> jobs;
      for (const std::size_t count : {std::size_t{1}, std::size_t{2}, std::size_t{3},
                                      longest<T> / 2, longest<T> - 1, longest<T>, longest<T> + 1})
        jobs.push_back(all_reduce_job(what, on.ranks, count, random.below(2) == 0, random));
      carry_out(jobs, on, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE("words are as many as fit the slots") {
  test::for_each(test::tested_types{}, [](auto element) {
    using T = typename decltype(element)::of;
    using unit = allfold::device::word_unit<T>;
    static_assert(unit::elements * sizeof(T) == unit::words * allfold::device::bytes_per_word);
    CHECK(allfold::device::words_for<T>(0) == 0);
    CHECK(allfold::device::words_for<T>(1) == unit::words);
    CHECK(allfold::device::words_for<T>(unit::elements) == unit::words);
    CHECK(allfold::device::words_for<T>(unit::elements + 1) == 2 * unit::words);
  });
}

TEST_CASE("the flag's 16 bits wrap around") {
  test::failures list;
  for (const test::shape& on : {test::shape{2, {3, 1}}, {3, {2, 2}}}) {
    test::current_grid = on.blocks;
    test::run_world(on.ranks, [&](world& mine) {
      // By the time that they wrap, no word is left that was never written.
      const std::uint64_t lead = 2 * mine.group().slot_words + 5;
      set_shots(mine, 65536 - lead);
      random_bits lengths{2}, own{3 + static_cast<std::uint64_t>(mine.rank())};
      for (unsigned round = 0; round < lead + 40; ++round) {
        pause_now_and_then(own);
        shoot(mine, 1 + lengths.below(longest<unsigned>), round, list);
      }
      if (mine.group().states[mine.rank()][0].shots != 65536 + 40) list.add("not all were shots");
    });
  }
  CHECK_NONE(list);
}

TEST_CASE("no word keeps a flag from very many messages ago") {
  constexpr std::uint64_t shots_before = 1000;
  test::failures list;
  test::current_grid = {2, 2};
  test::run_world(3, [&](world& mine) {
    const allfold::device::group& all = mine.group();
    set_shots(mine, shots_before);
    const std::uint64_t turn = 2 * all.slot_words;
    for (unsigned round = 0; round < turn; ++round) shoot(mine, 2, round, list);
    const std::size_t slot = all.slot_words;
    const auto peers = static_cast<std::size_t>(mine.size());
    for (std::size_t place = 0; place < 2 * peers * slot; ++place) {
      if (place / slot % peers == static_cast<std::size_t>(mine.rank())) continue;  // its own
      const std::uint64_t word = test::thread_access::acquire(all.slots[mine.rank()] + place);
      const std::uint64_t age = shots_before + turn - ((word >> 32) & 0xffffu);
      if (age >= turn)
        list.add("word " + std::to_string(place) + " of rank " + std::to_string(mine.rank()) +
                 " was last written " + std::to_string(age) + " messages ago");
    }
  });
  CHECK_NONE(list);
}

TEST_CASE("a message is not taken for the one that was there 65536 messages ago") {
  test::failures list;
  test::current_grid = {3, 1};
  test::run_world(2, [&](world& mine) {
    set_shots(mine, 10);
    shoot(mine, longest<unsigned>, 1, list);  // the 11th
    // As if as many had been sent meanwhile; those that are, are short.
    const std::uint64_t turn = 2 * mine.group().slot_words;
    set_shots(mine, 10 + 65536 - turn);
    for (unsigned round = 2; round < 2 + turn; ++round) shoot(mine, 1, round, list);
    if (mine.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds{50});
    shoot(mine, longest<unsigned>, 1000, list);
  });
  CHECK_NONE(list);
}

TEST_CASE("short messages and long ones in turns") {
  test::failures list;
  for (const test::shape& on : {test::shape{4, {1, 3}}, {2, {32, 1}}, {8, {1, 1}}}) {
    test::current_grid = on.blocks;
    test::run_world(on.ranks, [&](world& mine) {
      random_bits random{7}, own{8 + static_cast<std::uint64_t>(mine.rank())};
      for (unsigned round = 0; round < 60; ++round) {
        pause_now_and_then(own);
        shoot(mine, random.below(2 * longest<unsigned>), round, list);
      }
    });
  }
  CHECK_NONE(list);
}
