// Many collectives in flight, on streams of the caller's, on operands of all kinds.
#include <thrust/host_vector.h>

#include <doctest/doctest.h>

#include <array>
#include <numeric>

#include "cuda/on_device.cuh"

namespace {

using on_device::numbers;
using on_device::tally;
using test::world;

/// What all ranks hold, on the host; folded as the collectives should.
class model {
 public:
  model(std::size_t ranks, std::size_t count) : held_(ranks, std::vector<unsigned>(count)) {
    for (std::size_t rank = 0; rank < ranks; ++rank)
      std::iota(held_[rank].begin(), held_[rank].end(), static_cast<unsigned>(1000 * rank));
  }
  std::vector<unsigned>& of(std::size_t rank) { return held_[rank]; }

  void all_reduce(std::size_t begin, std::size_t count) {
    for (std::size_t i = begin; i < begin + count; ++i) {
      unsigned sum = 0;
      for (const auto& each : held_) sum += each[i];
      for (auto& each : held_) each[i] = sum;
    }
  }
  void broadcast(std::size_t begin, std::size_t count, std::size_t root) {
    for (auto& each : held_)
      for (std::size_t i = begin; i < begin + count; ++i) each[i] = held_[root][i];
  }
  void reduce(std::size_t begin, std::size_t count, std::size_t root) {
    for (std::size_t rank = 0; rank < held_.size(); ++rank)
      for (std::size_t i = begin; rank != root && i < begin + count; ++i)
        held_[root][i] += held_[rank][i];
  }
  void add_one(std::size_t rank) {
    for (unsigned& each : held_[rank]) ++each;
  }

 private:
  std::vector<std::vector<unsigned>> held_;
};

/// Gives `calls` random collectives to the ranks' streams without waiting for any, and does the
/// same to the model.
void give_many(world& ranks, numbers& mine, model& expected, int calls) {
  test::random_bits random{static_cast<std::uint64_t>(ranks.size())};  // the same on all ranks
  for (int call = 0; call < calls; ++call) {
    const std::size_t begin = random.below(mine.size());
    const std::size_t count = random.below(3) == 0
                                  ? random.below(mine.size() - begin + 1)
                                  : std::min(mine.size() - begin, random.below(3'000));
    const auto data = allfold::span_of(mine).subspan(begin, count);
    const std::size_t root = random.below(static_cast<std::uint64_t>(ranks.size()));
    switch (random.below(7)) {
      case 0:
        allfold::all_reduce<allfold::direct>(ranks, data);
        expected.all_reduce(begin, count);
        break;
      case 1:
        allfold::all_reduce<allfold::ring>(ranks, data);
        expected.all_reduce(begin, count);
        break;
      case 2:
        allfold::all_reduce<allfold::tree>(ranks, data);
        expected.all_reduce(begin, count);
        break;
      case 3:
        allfold::broadcast<allfold::direct>(ranks, data, static_cast<int>(root));
        expected.broadcast(begin, count, root);
        break;
      case 4:
        allfold::reduce<allfold::ring>(ranks, data, static_cast<int>(root));
        expected.reduce(begin, count, root);
        break;
      case 5:
        allfold::barrier(ranks);
        break;
      default:
        for (int rank = 0; rank < ranks.size(); ++rank)
          if (rank % 2 == 0) expected.add_one(static_cast<std::size_t>(rank));
        if (ranks.rank() % 2 == 0)
          thrust::transform(on_device::on(ranks), mine.begin(), mine.end(), mine.begin(),
                            on_device::add_one{});
    }
  }
}

}  // namespace

TEST_CASE("many collectives of all sizes in flight") {
  constexpr std::size_t count = 40'000;
  test::failures list;
  for (const int size : {1, 2, 3, 5, 8})
    test::run_world(size, [&](world& world) {
      model expected{static_cast<std::size_t>(size), count};
      const auto rank = static_cast<std::size_t>(world.rank());
      numbers mine(expected.of(rank).begin(), expected.of(rank).end());
      give_many(world, mine, expected, 400);
      on_device::expect(
          on_device::fetched(world, mine), [&](std::size_t i) { return expected.of(rank)[i]; },
          std::to_string(size) + " ranks, rank " + std::to_string(rank), list);
    });
  CHECK_NONE(list);
}

TEST_CASE("collectives stay in order when the stream changes") {
  test::failures list;
  for (const int size : {2, 5})
    test::run_world(size, [&](world& world) {
      allfold::cuda::stream first, second;
      const std::array<cudaStream_t, 3> streams{world.stream(), first.get(), second.get()};
      test::random_bits random{static_cast<std::uint64_t>(world.rank())};  // each rank its own
      tally it{world, 30'000};
      unsigned steps = 0;
      for (; steps < 200; steps += 2) {
        world.use_stream(streams[random.below(3)]);
        it.give<allfold::direct>(world);
        if (random.below(2) == 0) world.use_stream(streams[random.below(3)]);
        it.give<allfold::tree>(world);
      }
      it.check(world, steps, "streams in turn", list);
      world.use_stream(streams[0]);
      world.synchronize();
    });
  CHECK_NONE(list);
}

TEST_CASE("32 ranks on one GPU") {
  test::failures list;
  test::run_world(32, [&](world& world) {
    tally small{world, 50}, large{world, 100'000};
    small.give<allfold::direct>(world);
    large.give<allfold::direct>(world);
    large.give<allfold::ring>(world);
    large.give<allfold::halving_doubling>(world);
    small.give<allfold::primary<31>>(world);
    small.check(world, 2, "short messages", list);
    large.check(world, 3, "long messages", list);
  });
  CHECK_NONE(list);
}

TEST_CASE("operands of all kinds in device memory") {
  constexpr std::size_t count = 6'000;
  test::failures list;
  test::run_world(3, [&](world& world) {
    const auto rank = static_cast<unsigned>(world.rank());
    thrust::device_vector<unsigned> of_thrust(count, rank + 1);
    const thrust::device_vector<unsigned> constant(count, rank + 2);
    allfold::cuda::device_buffer<unsigned> buffer{std::vector<unsigned>(count, rank + 3)};
    const auto is = [&](const std::vector<unsigned>& found, unsigned value, const char* what) {
      on_device::expect(
          found, [value](std::size_t) { return value; }, what, list);
    };
    allfold::all_reduce(world, of_thrust);
    is(on_device::fetched(world, of_thrust), 6, "a thrust::device_vector");
    allfold::all_reduce(world, constant, of_thrust);
    is(on_device::fetched(world, of_thrust), 9, "a constant thrust::device_vector");
    allfold::all_reduce(world, buffer);
    world.synchronize();
    is(buffer.to_host(), 12, "a device_buffer");
    allfold::all_reduce(world, allfold::device_span<const unsigned>{buffer.data(), count},
                        allfold::span_of(of_thrust), allfold::maximum{});
    is(on_device::fetched(world, of_thrust), 12, "a device_span");
    thrust::device_vector<unsigned> all(3 * count), own(count);
    allfold::all_gather(world, constant, all);
    on_device::expect(
        on_device::fetched(world, all),
        [&](std::size_t i) { return static_cast<unsigned>(i / count) + 2; }, "all_gather", list);
    allfold::reduce_scatter(world, all, own);
    is(on_device::fetched(world, own), 3 * (rank + 2), "reduce_scatter");
  });
  CHECK_NONE(list);
}

TEST_CASE("a thrust::host_vector is an operand of ranks that are threads") {
  static_assert(allfold::range_access<thrust::host_vector<int>>::space ==
                allfold::memory_space::host);
  static_assert(allfold::range_access<thrust::device_vector<int>>::space ==
                allfold::memory_space::device);
  test::failures list;
  allfold::spawn(3, [&](auto& world) {
    thrust::host_vector<int> data(1'000, world.rank() + 1);
    allfold::all_reduce<allfold::ring>(world, data);
    on_device::expect(
        std::vector<int>(data.begin(), data.end()), [](std::size_t) { return 6; },
        "a thrust::host_vector", list);
  });
  CHECK_NONE(list);
}
