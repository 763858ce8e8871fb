// Models in a GPU's memory, trained by several strategies: to the same bits as each other, and as
// on the host.
#include <doctest/doctest.h>

#include <array>

#include "cuda/training.cuh"

namespace {

using namespace training;
using allfold::distributed;
using allfold::primary_device;

}  // namespace

TEST_CASE(
    "DataParallel and DistributedDataParallel<direct> train to the same bits, as on the host") {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    CAPTURE(ranks);
    const floats primary = trained_on_gpu<primary_device<>>(ranks);
    CHECK(std::isfinite(std::accumulate(primary.begin(), primary.end(), 0.0)));
    CHECK(same_bits(primary, trained_on_gpu<distributed<allfold::direct>>(ranks)));
    CHECK(same_bits(primary, trained_on_host<distributed<allfold::direct>>(ranks)));
    CHECK(same_bits(primary, trained_on_host<primary_device<>>(ranks)));
    if (ranks > 1) CHECK(same_bits(primary, trained_on_gpu<primary_device<1>>(ranks)));
  }
}

TEST_CASE("by ring, tree and halving all ranks hold the same") {
  for (const int ranks : {2, 3, 8}) {
    CAPTURE(ranks);
    const floats ring = trained_on_gpu<distributed<allfold::ring>>(ranks);
    const floats direct = trained_on_gpu<distributed<allfold::direct>>(ranks);
    CHECK(same_bits(ring, direct) == (ranks == 2));  // of two, every order gives the same sum
    trained_on_gpu<distributed<allfold::tree>>(ranks);
    trained_on_gpu<distributed<allfold::halving_doubling>>(ranks);
  }
}

TEST_CASE("gradients are weighed by samples, or just added") {
  using strategy = distributed<allfold::direct>;
  for (const auto how : {allfold::scale::mean_over_samples, allfold::scale::sum})
    for (const int ranks : {2, 3})
      CHECK(same_bits(trained_on_gpu<strategy>(ranks, {.scale = how}),
                      trained_on_host<strategy>(ranks, {.scale = how})));
}

TEST_CASE_TEMPLATE("a step that is recorded trains to the same bits", strategy, primary_device<>,
                   distributed<allfold::direct>) {
  constexpr int ranks = 3;
  for (const auto how : {allfold::overlap::none, allfold::overlap::by_thread}) {
    CAPTURE(static_cast<int>(how));
    std::vector<floats> held(ranks);
    test::run_world(ranks, [&](test::world& world) {
      model<memory_space::device> mine{world.rank()};
      allfold::data_parallel<model<memory_space::device>, strategy> replica{
          mine, world, {.overlap = how}};
      auto recorded = allfold::cuda::capture(world, [&] {
        replica.backward([&](auto&& ready) { mine.backward(world, ready); });
        replica.step(descent(world));
      });
      for (int step = 0; step < steps; ++step) recorded.launch(world);
      held[static_cast<std::size_t>(world.rank())] = mine.held(world);
    });
    const floats eagerly = trained_on_gpu<strategy>(ranks);
    for (const floats& each : held) CHECK(same_bits(each, eagerly));
  }
}

TEST_CASE("replicas whose shapes differ are told so") {
  CHECK_THROWS_AS(
      test::run_world(
          2,
          [](test::world& world) {
            struct odd {
              thrust::device_vector<float> value, slope;
              auto parameters() { return std::array{allfold::span_of(value)}; }
              auto gradients() { return std::array{allfold::span_of(slope)}; }
            };
            const std::size_t size = world.rank() == 1 ? 11 : 10;
            odd mine{thrust::device_vector<float>(size), thrust::device_vector<float>(size)};
            allfold::data_parallel<odd, distributed<>> replica{mine, world};
          }),
      allfold::mismatch_error);
}
