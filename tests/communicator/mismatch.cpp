#include <allfold/allfold.hpp>

#include "outcome.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <functional>
#include <numeric>
#include <source_location>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace outcomes;
using allfold::automatic;
using allfold::direct;
using allfold::ring;
using allfold::tree;
using std::source_location;
using world_type = allfold::threads::communicator;

/// A collective call, the line of which it says; and what of it an error must show.
struct variant {
  std::function<void(world_type&, source_location)> call;
  std::string shown_as;
};

/// Two calls that must not meet. With `at_once` no schedule lets a rank go before it knows.
struct pair_of_calls {
  std::string name;
  variant usual, odd;
  bool at_once = false;
};

/// How the collectives ended on one rank. A rank may still be in a good one when it is told.
struct story {
  outcome good, first, next, last;

  const outcome& told() const { return good.told() ? good : first.told() ? first : next; }
};

constexpr std::uint64_t good_calls = 3;

/// Some good collectives; then one rank calls another than the others; then all try to go on.
std::vector<story> play(int size, const std::function<bool(int)>& is_odd,
                        const pair_of_calls& calls, source_location usual_place,
                        source_location odd_place) {
  std::vector<story> all(at(size));
  const auto body = [&](world_type& world) {
    story& mine = all[at(world.rank())];
    std::vector<int> one{1}, many(3000, 1);
    mine.good = attempt([&] {
      allfold::all_reduce(world, one);
      allfold::all_reduce<ring>(world, many);
      allfold::barrier(world);
    });
    mine.first = attempt([&] {
      if (is_odd(world.rank()))
        calls.odd.call(world, odd_place);
      else
        calls.usual.call(world, usual_place);
    });
    mine.next = attempt([&] { allfold::barrier(world); });
    mine.last = attempt([&] { allfold::all_reduce(world, one); });
  };
  for (const outcome& each : run_ranks(size, body)) CHECK(each.how == ending::returned);
  return all;
}

void check_story(const story& mine, const pair_of_calls& calls) {
  CHECK(mine.told().how == ending::mismatch);
  CHECK(mine.next.how == ending::mismatch);  // the team is poisoned
  CHECK(mine.last.how == ending::mismatch);
  if (calls.at_once) CHECK(mine.first.how == ending::mismatch);
}

void check_text(const outcome& told, int odd, const pair_of_calls& calls,
                source_location usual_place, source_location odd_place) {
  CAPTURE(told.text);
  CHECK(told.says(rank_name(odd) + " calls"));
  CHECK(told.says(calls.usual.shown_as));
  CHECK(told.says(calls.odd.shown_as));
  CHECK(told.says("#" + std::to_string(good_calls)));
  CHECK(told.says(shown(usual_place)));
  CHECK(told.says(shown(odd_place)));
}

void check(const pair_of_calls& calls) {
  CAPTURE(calls.name);
  const auto usual_place = source_location::current();
  const auto odd_place = source_location::current();
  for (int size = 2; size <= 5; ++size)
    for (int odd = 0; odd < size; ++odd) {
      CAPTURE(size);
      CAPTURE(odd);
      const auto is_odd = [=](int rank) { return rank == odd; };
      for (const story& mine : play(size, is_odd, calls, usual_place, odd_place)) {
        check_story(mine, calls);
        check_text(mine.told(), odd, calls, usual_place, odd_place);
      }
    }
}

// ---- the calls ----

template <class T, class Algorithm = automatic, class Operation = allfold::sum>
auto all_reduce_of(std::size_t count) {
  return [count](world_type& world, source_location where) {
    std::vector<T> data(count);
    allfold::all_reduce<Algorithm>(world, data, Operation{}, where);
  };
}
template <class T, class Algorithm = automatic, class Operation = allfold::sum>
auto reduce_of(std::size_t count, int root) {
  return [count, root](world_type& world, source_location where) {
    std::vector<T> data(count);
    allfold::reduce<Algorithm>(world, data, root, Operation{}, where);
  };
}
template <class T, class Algorithm = automatic>
auto broadcast_of(std::size_t count, int root) {
  return [count, root](world_type& world, source_location where) {
    std::vector<T> data(count);
    allfold::broadcast<Algorithm>(world, data, root, where);
  };
}
template <class T, class Algorithm = automatic, class Operation = allfold::sum>
auto reduce_scatter_of(std::size_t share) {
  return [share](world_type& world, source_location where) {
    std::vector<T> data(share * at(world.size()));
    allfold::reduce_scatter<Algorithm>(world, data, Operation{}, where);
  };
}
template <class T, class Algorithm = automatic>
auto all_gather_of(std::size_t share) {
  return [share](world_type& world, source_location where) {
    std::vector<T> data(share * at(world.size()));
    allfold::all_gather<Algorithm>(world, data, where);
  };
}
template <class T>
auto scatter_of(std::size_t share, int root) {
  return [share, root](world_type& world, source_location where) {
    std::vector<T> whole(share * at(world.size())), part(share);
    allfold::scatter(world, whole, part, root, where);
  };
}
template <class T>
auto gather_of(std::size_t share, int root) {
  return [share, root](world_type& world, source_location where) {
    std::vector<T> whole(share * at(world.size())), part(share);
    allfold::gather(world, part, whole, root, where);
  };
}
template <class T>
auto all_to_all_of(std::size_t share) {
  return [share](world_type& world, source_location where) {
    std::vector<T> input(share * at(world.size())), output(input);
    allfold::all_to_all(world, input, output, where);
  };
}
auto all_to_all_in_place(std::size_t share) {
  return [share](world_type& world, source_location where) {
    std::vector<float> data(share * at(world.size()));
    allfold::all_to_all(world, data, where);
  };
}
template <class Algorithm = automatic>
auto barrier_of() {
  return
      [](world_type& world, source_location where) { allfold::barrier<Algorithm>(world, where); };
}

}  // namespace

TEST_CASE("another collective than the others' is told on every rank") {
  check({"all_reduce, barrier",
         {all_reduce_of<float>(10), "all_reduce #3"},
         {barrier_of(), "barrier #3"},
         true});
  check({"barrier, all_reduce",
         {barrier_of(), "barrier #3"},
         {all_reduce_of<float, ring>(1000), "all_reduce #3"},
         true});
  check({"broadcast, all_reduce",
         {broadcast_of<float, tree>(10, 0), "broadcast #3"},
         {all_reduce_of<float, tree>(10), "all_reduce #3"}});
  check({"reduce, broadcast",
         {reduce_of<float>(10, 0), "reduce #3"},
         {broadcast_of<float>(10, 0), "broadcast #3"}});
  check({"gather, scatter",
         {gather_of<float>(10, 1), "gather #3"},
         {scatter_of<float>(10, 1), "scatter #3"}});
  check({"all_gather, reduce_scatter",
         {all_gather_of<float, ring>(10), "all_gather #3"},
         {reduce_scatter_of<float, ring>(10), "reduce_scatter #3"}});
  check({"all_to_all, all_gather",
         {all_to_all_of<float>(10), "all_to_all #3"},
         {all_gather_of<float>(10), "all_gather #3"},
         true});
}

TEST_CASE("another element type than the others' is told on every rank") {
  check({"all_reduce in one shot",
         {all_reduce_of<float>(10), "10 x float"},
         {all_reduce_of<int>(10), "10 x int"},
         true});
  check({"all_reduce<direct>",
         {all_reduce_of<float, direct>(1000), "1000 x float"},
         {all_reduce_of<double, direct>(1000), "1000 x double"},
         true});
  check({"all_reduce<ring>",
         {all_reduce_of<float, ring>(10), "10 x float"},
         {all_reduce_of<double, ring>(10), "10 x double"}});
  check({"all_reduce<tree>",
         {all_reduce_of<signed char, tree>(10), "10 x signed char"},
         {all_reduce_of<unsigned char, tree>(10), "10 x unsigned char"}});
  check({"reduce",
         {reduce_of<float, tree>(10, 1), "10 x float"},
         {reduce_of<int, tree>(10, 1), "10 x int"}});
  check({"broadcast",
         {broadcast_of<signed char, ring>(10, 1), "10 x signed char"},
         {broadcast_of<unsigned char, ring>(10, 1), "10 x unsigned char"}});
  check({"reduce_scatter",
         {reduce_scatter_of<float>(10), "10 x float"},
         {reduce_scatter_of<double>(10), "10 x double"},
         true});
  check({"all_gather",
         {all_gather_of<float>(10), "10 x float"},
         {all_gather_of<double>(10), "10 x double"},
         true});
  check(
      {"scatter", {scatter_of<float>(10, 0), "10 x float"}, {scatter_of<int>(10, 0), "10 x int"}});
  check({"gather", {gather_of<float>(10, 0), "10 x float"}, {gather_of<int>(10, 0), "10 x int"}});
  check({"all_to_all",
         {all_to_all_of<float>(10), "10 x float"},
         {all_to_all_of<int>(10), "10 x int"},
         true});
}

TEST_CASE("another count than the others' is told on every rank") {
  check({"all_reduce in one shot",
         {all_reduce_of<float>(100), "100 x float"},
         {all_reduce_of<float>(99), "99 x float"},
         true});
  check({"all_reduce, of which one message is short",
         {all_reduce_of<float>(100), "100 x float"},
         {all_reduce_of<float>(100'000), "100000 x float"},
         true});
  check({"all_reduce, of which one message is empty",
         {all_reduce_of<float, direct>(1000), "1000 x float"},
         {all_reduce_of<float, direct>(0), "0 x float"},
         true});
  check({"all_reduce<ring> in several pieces",
         {all_reduce_of<float, ring>(300'000), "300000 x float"},
         {all_reduce_of<float, ring>(100'000), "100000 x float"}});
  check({"all_reduce<tree> in several pieces",
         {all_reduce_of<float, tree>(100'000), "100000 x float"},
         {all_reduce_of<float, tree>(100'001), "100001 x float"}});
  check({"all_reduce<halving_doubling>",
         {all_reduce_of<float, allfold::halving_doubling>(64), "64 x float"},
         {all_reduce_of<float, allfold::halving_doubling>(65), "65 x float"}});
  check({"reduce",
         {reduce_of<float, ring>(10, 0), "10 x float"},
         {reduce_of<float, ring>(11, 0), "11 x float"}});
  check({"broadcast",
         {broadcast_of<float, tree>(10, 0), "10 x float"},
         {broadcast_of<float, tree>(11, 0), "11 x float"}});
  check({"reduce_scatter",
         {reduce_scatter_of<float, ring>(10), "10 x float"},
         {reduce_scatter_of<float, ring>(11), "11 x float"}});
  check({"all_gather",
         {all_gather_of<float, ring>(10), "10 x float"},
         {all_gather_of<float, ring>(11), "11 x float"}});
  check({"scatter",
         {scatter_of<float>(10, 1), "10 x float"},
         {scatter_of<float>(11, 1), "11 x float"}});
  check(
      {"gather", {gather_of<float>(10, 1), "10 x float"}, {gather_of<float>(11, 1), "11 x float"}});
  check({"all_to_all",
         {all_to_all_of<float>(10), "10 x float"},
         {all_to_all_of<float>(11), "11 x float"},
         true});
}

TEST_CASE("another operation than the others' is told on every rank") {
  using allfold::average;
  using allfold::maximum;
  using allfold::minimum;
  using allfold::product;
  check({"all_reduce in one shot",
         {all_reduce_of<float>(10), "sum"},
         {all_reduce_of<float, automatic, maximum>(10), "maximum"},
         true});
  check({"all_reduce<ring>",
         {all_reduce_of<float, ring, minimum>(10), "minimum"},
         {all_reduce_of<float, ring, average>(10), "average"}});
  check({"reduce",
         {reduce_of<float, direct, product>(10, 1), "product"},
         {reduce_of<float, direct>(10, 1), "sum"}});
  check({"reduce_scatter",
         {reduce_scatter_of<float, direct, maximum>(10), "maximum"},
         {reduce_scatter_of<float, direct, minimum>(10), "minimum"},
         true});
  check({"an operation of the caller's",
         {all_reduce_of<float, direct, std::plus<>>(1000), "plus"},
         {all_reduce_of<float, direct, std::multiplies<>>(1000), "multiplies"},
         true});
}

TEST_CASE("an exchange in place among others that are not is told on every rank") {
  check({"all_to_all",
         {all_to_all_of<float>(10), "10 x float)"},
         {all_to_all_in_place(10), "10 x float, in place)"},
         true});
}

TEST_CASE("another root than the others' is told on every rank") {
  check({"broadcast<direct>",
         {broadcast_of<float>(10, 0), "root 0"},
         {broadcast_of<float>(10, 1), "root 1"}});
  check({"broadcast<ring>",
         {broadcast_of<float, ring>(10, 1), "root 1"},
         {broadcast_of<float, ring>(10, 0), "root 0"}});
  check({"broadcast<tree>",
         {broadcast_of<float, tree>(10, 0), "root 0"},
         {broadcast_of<float, tree>(10, 1), "root 1"}});
  check({"broadcast<direct>, long",
         {broadcast_of<float>(2000, 0), "root 0"},
         {broadcast_of<float>(2000, 1), "root 1"}});
  check({"reduce<direct>",
         {reduce_of<float>(2000, 0), "root 0"},
         {reduce_of<float>(2000, 1), "root 1"},
         true});
  check({"reduce in one shot",
         {reduce_of<float>(10, 0), "root 0"},
         {reduce_of<float>(10, 1), "root 1"}});
  check({"reduce<ring>",
         {reduce_of<float, ring>(10, 0), "root 0"},
         {reduce_of<float, ring>(10, 1), "root 1"}});
  check({"reduce<tree>",
         {reduce_of<float, tree>(10, 1), "root 1"},
         {reduce_of<float, tree>(10, 0), "root 0"}});
  check({"reduce<primary>",
         {reduce_of<float, allfold::primary<>>(10, 0), "root 0"},
         {reduce_of<float, allfold::primary<>>(10, 1), "root 1"}});
  check({"scatter", {scatter_of<float>(10, 0), "root 0"}, {scatter_of<float>(10, 1), "root 1"}});
  check({"gather", {gather_of<float>(10, 0), "root 0"}, {gather_of<float>(10, 1), "root 1"}});
}

TEST_CASE("calls in which no rank waits for another are compared later on") {
  // Each of two ranks takes itself for the one that need not wait.
  for (int rounds = 1; rounds <= 7; ++rounds) {
    CAPTURE(rounds);
    std::vector<int> said(2, -1);
    const auto body = [&](world_type& world) {
      const outcome told = attempt([&] {
        for (int i = 0; i < rounds; ++i) broadcast_of<float>(10, 0)(world, {});
        for (int i = 0; i < 7; ++i)
          broadcast_of<float>(10, world.rank())(world, source_location::current());
        allfold::barrier(world);
      });
      CHECK(told.how == ending::mismatch);
      said[at(world.rank())] = told.says("broadcast #" + std::to_string(rounds)) ? rounds : 0;
    };
    for (const outcome& each : run_ranks(2, body)) CHECK(each.how == ending::returned);
    for (const int each : said) CHECK(each == rounds);  // where they parted, not where it was found
  }
}

TEST_CASE("another algorithm than the others' is told on every rank") {
  using allfold::halving_doubling;
  check({"all_reduce, ring and tree",
         {all_reduce_of<float, ring>(2000), "ring"},
         {all_reduce_of<float, tree>(2000), "tree"}});
  check({"all_reduce, direct and halving_doubling",
         {all_reduce_of<float, direct>(2000), "direct"},
         {all_reduce_of<float, halving_doubling>(2000), "halving_doubling"}});
  check({"all_reduce, primary and ring",
         {all_reduce_of<float, allfold::primary<>>(2000), "primary"},
         {all_reduce_of<float, ring>(2000), "ring"}});
  check({"reduce, tree and ring",
         {reduce_of<float, tree>(2000, 0), "tree"},
         {reduce_of<float, ring>(2000, 0), "ring"}});
  check({"broadcast, tree and direct",
         {broadcast_of<float, tree>(2000, 0), "tree"},
         {broadcast_of<float, direct>(2000, 0), "direct"}});
  check({"reduce_scatter, direct and ring",
         {reduce_scatter_of<float, direct>(2000), "direct"},
         {reduce_scatter_of<float, ring>(2000), "ring"}});
  check({"all_gather, direct and ring",
         {all_gather_of<float, direct>(2000), "direct"},
         {all_gather_of<float, ring>(2000), "ring"}});
  check({"barrier, direct and dissemination",
         {barrier_of<direct>(), "direct"},
         {barrier_of<allfold::dissemination>(), "dissemination"}});
}

TEST_CASE("all_reduce<primary<root>> with another root is told on every rank") {
  const pair_of_calls calls{"primary<0>, primary<1>",
                            {all_reduce_of<float, allfold::primary<0>>(1000), ""},
                            {all_reduce_of<float, allfold::primary<1>>(1000), ""}};
  const auto here = source_location::current();
  for (int size = 2; size <= 5; ++size)
    for (int odd = 0; odd < size; ++odd)
      for (const story& mine : play(
               size, [=](int rank) { return rank == odd; }, calls, here, here)) {
        check_story(mine, calls);
        CHECK(mine.told().says(rank_name(odd) + " calls all_reduce #3"));
      }
}

TEST_CASE("other counts per rank than the others' are told on every rank") {
  // The same total, and for every rank as many elements of its own, by moving what others have.
  const auto counts_of = [](int size, int mine, bool moved) {
    std::vector<std::size_t> counts(at(size), 4);
    if (moved) {
      counts[at((mine + 1) % size)] += 2;
      counts[at((mine + 2) % size)] -= 2;
    }
    return counts;
  };
  const auto play_with = [&](auto collective) {
    for (int size = 3; size <= 5; ++size)
      for (int odd = 0; odd < size; ++odd) {
        CAPTURE(size);
        CAPTURE(odd);
        std::vector<story> all(at(size));
        run_ranks(size, [&](world_type& world) {
          story& mine = all[at(world.rank())];
          mine.first = attempt([&] {
            const auto counts = counts_of(size, odd, world.rank() == odd);
            std::vector<float> part(counts[at(world.rank())]);
            std::vector<float> whole(std::accumulate(counts.begin(), counts.end(), 0ul));
            collective(world, part, whole, counts);
          });
          mine.next = attempt([&] { allfold::barrier(world); });
        });
        for (const story& mine : all) {
          CHECK(mine.told().how == ending::mismatch);
          CHECK(mine.next.how == ending::mismatch);
          CHECK(mine.told().says(rank_name(odd) + " calls"));
          CHECK(mine.told().says("counts per rank"));
          CHECK(mine.told().says("mismatch.cpp:"));
        }
      }
  };
  play_with([](auto& world, auto& part, auto& whole, std::span<const std::size_t> counts) {
    allfold::all_gather(world, part, whole, counts);
  });
  play_with([](auto& world, auto& part, auto& whole, std::span<const std::size_t> counts) {
    allfold::all_gather<ring>(world, part, whole, counts);
  });
  play_with([](auto& world, auto& part, auto& whole, std::span<const std::size_t> counts) {
    allfold::gather(world, part, whole, counts, 1);
  });
  play_with([](auto& world, auto& part, auto& whole, std::span<const std::size_t> counts) {
    allfold::scatter(world, whole, part, counts, 1);
  });
}

TEST_CASE("even and uneven forms of one collective do not mix") {
  for (int odd = 0; odd < 3; ++odd) {
    const auto all = run_ranks(3, [&](world_type& world) {
      const std::vector<std::size_t> counts(3, 2);
      std::vector<float> part(2), whole(6);
      if (world.rank() == odd)
        allfold::all_gather(world, part, whole, std::span{counts});
      else
        allfold::all_gather(world, part, whole);
    });
    for (const outcome& each : all) {
      CHECK(each.how == ending::mismatch);
      CHECK(each.says(rank_name(odd) + " calls"));
    }
  }
}

TEST_CASE("two camps are told of both") {
  const pair_of_calls calls{"halves",
                            {all_reduce_of<float, ring>(1000), "1000 x float"},
                            {all_reduce_of<float, ring>(2000), "2000 x float"}};
  const auto here = source_location::current();
  for (const story& mine : play(
           6, [](int rank) { return rank >= 3; }, calls, here, here)) {
    check_story(mine, calls);
    CHECK(mine.told().says("1000 x float"));
    CHECK(mine.told().says("2000 x float"));
  }
}

TEST_CASE("the line that an error names is the caller's") {
  std::array<std::uint_least32_t, 4> lines{};
  const auto all = run_ranks(4, [&](world_type& world) {
    std::vector<float> one(8), other(8), part(2);
    auto& line = lines[at(world.rank())];
    // clang-format off
    if (world.rank() == 0) { line = __LINE__; allfold::all_reduce(world, one); }
    if (world.rank() == 1) { line = __LINE__; allfold::all_gather(world, part, other); }
    if (world.rank() == 2) { line = __LINE__; allfold::broadcast(world, one, 0); }
    if (world.rank() == 3) { line = __LINE__; allfold::all_to_all(world, one, other); }
    // clang-format on
  });
  for (int rank = 0; rank < 4; ++rank) {
    const outcome& told = all[at(rank)];
    CHECK(told.how == ending::mismatch);
    // Every rank's own call comes first in its text.
    const std::string own = "mismatch.cpp:" + std::to_string(lines[at(rank)]);
    CAPTURE(told.text);
    CHECK(told.text.find(own) < told.text.find('\n'));
    CHECK(told.text.find("allfold: " + rank_name(rank) + ", ") == 0);
  }
}

TEST_CASE("ranks that agree are never told otherwise, and may call from different lines") {
  const auto all = run_ranks(4, [&](world_type& world) {
    for (int i = 0; i < 50; ++i) {
      std::vector<float> data(i % 2 == 0 ? 10 : 1000);
      if (world.rank() % 2 == 0)
        allfold::all_reduce<ring>(world, data);
      else
        allfold::all_reduce<ring>(world, data);
      if (world.rank() == 0)
        allfold::broadcast<tree>(world, data, 2);
      else
        allfold::broadcast<tree>(world, data, data, 2);
    }
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("after a mismatch a fresh team works") {
  for (int again = 0; again < 3; ++again) {
    const auto failed = run_ranks(3, [](world_type& world) {
      std::vector<float> data(world.rank() == 1 ? 99 : 100);
      allfold::all_reduce<ring>(world, data);
    });
    for (const outcome& each : failed) CHECK(each.how == ending::mismatch);
    std::vector<float> sums(3);
    const auto fresh = run_ranks(3, [&](world_type& world) {
      std::vector<float> data(100, static_cast<float>(world.rank() + 1));
      allfold::all_reduce<ring>(world, data);
      sums[at(world.rank())] = data[99];
    });
    for (const outcome& each : fresh) CHECK_MESSAGE(each.how == ending::returned, each.text);
    for (const float sum : sums) CHECK(sum == 6.0f);
  }
}

TEST_CASE("spawn rethrows the mismatch_error of the rank that found it") {
  CHECK_THROWS_AS(allfold::spawn(3,
                                 [](auto& world) {
                                   std::vector<int> data(world.rank() == 2 ? 1u : 2u);
                                   allfold::all_reduce(world, data);
                                 }),
                  allfold::mismatch_error);
}
