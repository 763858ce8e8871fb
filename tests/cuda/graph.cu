// Collectives in CUDA graphs, replayed between others that are not.
#include <doctest/doctest.h>

#include <memory>
#include <utility>

#include "cuda/on_device.cuh"

namespace {

using on_device::tally;
using test::world;

/// What is recorded, how often it is replayed, and on how many elements.
template <class Algorithm>
void try_replays(int ranks, std::size_t count, int replays, test::failures& list) {
  test::run_world(ranks, [&](world& world) {
    tally it{world, count};
    unsigned steps = 0;
    it.give<allfold::ring>(world);
    ++steps;
    auto recorded = allfold::cuda::capture(world, [&] {
      it.give<Algorithm>(world);
      it.give<allfold::tree>(world);
      it.give<Algorithm>(world);
    });
    for (int replay = 0; replay < replays; ++replay) {
      recorded.launch(world);
      steps += 3;
      if (replay % 7 == 0) {
        it.give<Algorithm>(world);
        ++steps;
      }
      if (replay % 50 == 3) allfold::barrier(world);
    }
    it.check(world, steps, std::string{Algorithm::name}, list);
  });
}

}  // namespace

TEST_CASE_TEMPLATE("a thousand replays", algorithm, allfold::direct, allfold::ring,
                   allfold::halving_doubling, allfold::primary<0>) {
  test::failures list;
  try_replays<algorithm>(4, 50'001, 1'000, list);
  CHECK_NONE(list);
}

TEST_CASE("a thousand replays of short messages, which go through slots") {
  test::failures list;
  for (const int ranks : {2, 8}) try_replays<allfold::direct>(ranks, 100, 1'000, list);
  try_replays<allfold::direct>(3, 4'096, 1'000, list);
  CHECK_NONE(list);
}

TEST_CASE("graphs of several sizes, replayed on any number of ranks") {
  test::failures list;
  for (int ranks = 1; ranks <= 8; ++ranks)
    for (const std::size_t count : {1u, 1'000u, 300'000u})
      try_replays<allfold::direct>(ranks, count, 20, list);
  CHECK_NONE(list);
}

TEST_CASE("two graphs and calls that are in none take turns") {
  test::failures list;
  test::run_world(3, [&](world& world) {
    tally small{world, 500}, large{world, 70'000};
    unsigned small_steps = 0, large_steps = 0;
    auto first = allfold::cuda::capture(world, [&] { small.give<allfold::direct>(world); });
    auto second = allfold::cuda::capture(world, [&] {
      large.give<allfold::ring>(world);
      small.give<allfold::direct>(world);
    });
    test::random_bits random{7};  // the same choices on all ranks
    for (int turn = 0; turn < 300; ++turn) {
      switch (random.below(4)) {
        case 0:
          first.launch(world);
          ++small_steps;
          break;
        case 1:
          second.launch(world);
          ++small_steps;
          ++large_steps;
          break;
        case 2:
          small.give<allfold::direct>(world);
          ++small_steps;
          break;
        default:
          large.give<allfold::direct>(world);
          ++large_steps;
      }
    }
    small.check(world, small_steps, "short messages", list);
    large.check(world, large_steps, "long messages", list);
  });
  CHECK_NONE(list);
}

// A chain of three ranks folds through scratch memory.
TEST_CASE("scratch memory is there while it is recorded, and stays as long as the graph") {
  constexpr std::size_t count = 20'000;
  test::failures list;
  test::run_world(3, [&](world& world) {
    on_device::numbers mine(count), sum(count), more(50 * count, 1u);
    auto recorded = allfold::cuda::capture(world, [&] {
      thrust::transform(on_device::on(world), mine.begin(), mine.end(), mine.begin(),
                        on_device::add_one{});
      allfold::reduce<allfold::ring>(world, static_cast<const on_device::numbers&>(mine), sum, 2);
    });
    recorded.launch(world);
    allfold::reduce<allfold::ring>(world, more, 2);  // needs more scratch memory
    world.synchronize();
    const on_device::numbers others(40 * count, 7u);  // may lie where the former was
    for (int replay = 0; replay < 10; ++replay) recorded.launch(world);
    if (world.rank() == 2)
      on_device::expect(
          on_device::fetched(world, sum), [](std::size_t) { return 3u * 11u; }, "the sum", list);
    on_device::expect(
        on_device::fetched(world, others), [](std::size_t) { return 7u; }, "other memory", list);
  });
  CHECK_NONE(list);
}

TEST_CASE("a graph may be moved") {
  test::failures list;
  test::run_world(2, [&](world& world) {
    tally it{world, 1'000};
    allfold::cuda::graph kept;
    kept = allfold::cuda::capture(world, [&] { it.give<allfold::direct>(world); });
    const auto taken = std::make_unique<allfold::cuda::graph>(std::move(kept));
    for (int replay = 0; replay < 5; ++replay) taken->launch(world);
    it.check(world, 5, "a graph that was moved", list);
  });
  CHECK_NONE(list);
}
