#include <allfold/allfold.hpp>
#include <allfold/communicator/threads.hpp>

#include "outcome.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using allfold::threads::failure_kind;
using allfold::threads::post;
using allfold::threads::team;
using allfold::threads::window;
using world_type = allfold::threads::communicator;

}  // namespace

TEST_CASE("a team keeps its size and its options") {
  const team ours{3, {1234ms, true}};
  CHECK(ours.size() == 3);
  CHECK(ours.options().timeout == 1234ms);
  CHECK(ours.options().crowded);
  CHECK_FALSE(ours.failed());
}

TEST_CASE("every rank has a post of its own for each collective of a window") {
  team ours{5, {}};
  std::set<post*> posts;
  for (int rank = 0; rank < 5; ++rank)
    for (std::uint64_t number = 0; number < window; ++number) {
      posts.insert(&ours.post_of(rank, number));
      CHECK(&ours.post_of(rank, number) == &ours.post_of(rank, number + window));
      CHECK(&ours.post_of(rank, number) == &ours.post_of(rank, number + 1000 * window));
      CHECK(ours.post_of(rank, number).stamp == 0);
    }
  CHECK(posts.size() == 5 * window);
}

TEST_CASE("what different ranks write lies in different cache lines") {
  team ours{4, {}};
  for (int rank = 0; rank < 4; ++rank) {
    CHECK(reinterpret_cast<std::uintptr_t>(&ours.post_of(rank, 0)) % 64 == 0);
    CHECK(reinterpret_cast<std::uintptr_t>(&ours.of(rank)) % 64 == 0);
    CHECK(ours.of(rank).progress == 0);
    CHECK(ours.of(rank).completed == 0);
    CHECK_FALSE(ours.of(rank).left);
  }
  CHECK(sizeof(post) % 64 == 0);
}

TEST_CASE("a message that fits a slot fits") {
  CHECK(sizeof(post::slot) == allfold::threads::slot_bytes);
  CHECK(world_type::small_bytes == allfold::threads::slot_bytes);
  CHECK(reinterpret_cast<std::uintptr_t>(team{1, {}}.post_of(0, 0).slot) % 16 == 0);
}

TEST_CASE("each kind of failure is its own type of error, with the rank, its call and the cause") {
  const std::pair<failure_kind, ending> kinds[] = {{failure_kind::mismatch, ending::mismatch},
                                                   {failure_kind::timeout, ending::timeout},
                                                   {failure_kind::lost, ending::lost},
                                                   {failure_kind::misuse, ending::usage}};
  for (const auto& [kind, expected] : kinds) {
    team ours{2, {}};
    CHECK(ours.origin() == -1);
    ours.fail(kind, 1, "the cause");
    CHECK(ours.failed());
    CHECK(ours.origin() == 1);
    const outcome told = attempt([&] { ours.throw_failure(0, "barrier #7"); });
    CHECK(told.how == expected);
    CHECK(told.text == "allfold: rank 0, barrier #7: the cause");
  }
}

TEST_CASE("the first failure is the one that is told") {
  team ours{3, {}};
  ours.fail(failure_kind::timeout, 2, "first");
  ours.fail(failure_kind::mismatch, 0, "second");
  CHECK(ours.origin() == 2);
  for (int rank = 0; rank < 3; ++rank) {
    const outcome told = attempt([&] { ours.throw_failure(rank, "call"); });
    CHECK(told.how == ending::timeout);
    CHECK(told.says("first"));
  }
}

TEST_CASE("of failures at the same time all ranks see one and the same") {
  constexpr int size = 8;
  for (int i = 0; i < 50; ++i) {
    team ours{size, {}};
    std::vector<outcome> told(size);
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < size; ++rank)
      ranks.emplace_back([&, rank] {
        ours.fail(rank % 2 == 0 ? failure_kind::lost : failure_kind::timeout, rank,
                  "seen by " + std::to_string(rank));
        told[at(rank)] = attempt([&] { ours.throw_failure(rank, "call"); });
      });
    for (std::thread& each : ranks) each.join();
    const int origin = ours.origin();
    for (const outcome& each : told) {
      CHECK(each.how == (origin % 2 == 0 ? ending::lost : ending::timeout));
      CHECK(each.says("call: seen by " + std::to_string(origin)));
    }
  }
}

TEST_CASE("a rank that is destroyed has left; one that is moved has not") {
  const auto ours = std::make_shared<team>(2, allfold::threads::team_options{});
  {
    world_type first{ours, 0};
    CHECK(first.rank() == 0);
    CHECK(first.size() == 2);
    CHECK(first.shared() == ours);
    world_type second = std::move(first);
    CHECK(second.rank() == 0);
    CHECK_FALSE(ours->of(0).left);
  }
  CHECK(ours->of(0).left);
  CHECK_FALSE(ours->of(1).left);
}

TEST_CASE("calls and bytes are counted by rank") {
  std::vector<allfold::threads::traffic> moved(4);
  const auto all = run_ranks(4, [&](world_type& world) {
    std::vector<float> data(4096);
    allfold::all_reduce<allfold::direct>(world, data);
    allfold::barrier(world);
    moved[at(world.rank())] = world.traffic();
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  for (const allfold::threads::traffic& each : moved) {
    CHECK(each.calls == 2);
    CHECK(each.bytes_read == 4096 * sizeof(float));  // a quarter of each of four ranks' elements
    CHECK(each.bytes_written == 4096 * sizeof(float));
  }
}

TEST_CASE("what companions move is counted too, also when they are gone") {
  constexpr std::size_t elements = 6000;  // too long for slots
  constexpr std::uint64_t bytes = elements * sizeof(float);
  constexpr std::uint64_t times = 50;
  const auto is = [](const allfold::threads::traffic& now, const allfold::threads::traffic& before,
                     std::uint64_t calls) {
    if (now.calls - before.calls != calls) throw std::logic_error{"other calls"};
    if (now.bytes_read - before.bytes_read != calls * bytes) throw std::logic_error{"read"};
    if (now.bytes_written - before.bytes_written != calls * bytes)
      throw std::logic_error{"written"};
  };
  const auto all = run_ranks(3, [&](world_type& world) {
    std::vector<float> data(elements), other(elements), another(elements);
    const auto fold = [](world_type& over, std::vector<float>& what) {
      for (std::uint64_t i = 0; i < times; ++i) allfold::all_reduce<allfold::direct>(over, what);
    };
    world_type apart = world.split(0);
    auto second = std::make_unique<world_type>(world.companion());
    auto third = std::make_unique<world_type>(second->companion());
    const auto of_world = world.traffic(), of_second = second->traffic();
    is(third->traffic(), {}, 0);
    std::thread meanwhile{[&] { fold(*second, other); }};
    std::thread besides{[&] { fold(*third, another); }};
    std::uint64_t seen = of_world.calls;
    for (std::uint64_t i = 0; i < times; ++i) {
      allfold::all_reduce<allfold::direct>(world, data);
      const std::uint64_t now = world.traffic().calls;
      if (now <= seen) throw std::logic_error{"not one more"};
      seen = now;
    }
    meanwhile.join();
    besides.join();
    is(third->traffic(), {}, times);
    is(second->traffic(), of_second, 2 * times);
    is(world.traffic(), of_world, 3 * times);
    second.reset();
    fold(*third, other);
    third.reset();
    fold(apart, other);
    is(world.traffic(), of_world, 4 * times);
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("a collective that failed is not counted as completed") {
  std::vector<std::uint64_t> calls(2);
  run_ranks(2, [&](world_type& world) {
    allfold::barrier(world);
    attempt([&] {
      std::vector<int> data(world.rank() == 0 ? 1u : 2u);
      allfold::all_reduce(world, data);
    });
    calls[at(world.rank())] = world.traffic().calls;
  });
  CHECK(calls == std::vector<std::uint64_t>{1, 1});
}

TEST_CASE("four thousand collectives in a row, over every window") {
  const auto all = run_ranks(2, [](world_type& world) {
    for (int i = 0; i < 4'000; ++i) {
      std::vector<int> data{world.rank(), i};
      if (i % 3 == 0)
        allfold::all_reduce<allfold::ring>(world, data);
      else
        allfold::all_reduce(world, data);
      if (data[0] != 1 || data[1] != 2 * i) throw std::logic_error{"a wrong result"};
    }
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}
