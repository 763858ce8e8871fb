// Ranks over NCCL. What needs a GPU says that it is skipped where there is none.
#include <allfold/allfold.hpp>
#include <allfold/communicator/nccl.hpp>

#include <doctest/doctest.h>

#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using allfold::native;
using allfold::cuda::device_buffer;
using world_type = allfold::nccl::communicator;

bool has_gpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}
/// Several ranks on one GPU need NCCL 2.30 and its leave.
int most_ranks() {
  int version = 0;
  ncclGetVersion(&version);
  const char* const leave = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  return version >= NCCL_VERSION(2, 30, 0) && leave != nullptr && std::string{leave} == "1" ? 4 : 1;
}

/// Runs `body(world)` for each number of ranks that this machine allows.
template <class Body>
void on_ranks(Body body) {
  if (!has_gpu()) {
    MESSAGE("skipped: no CUDA device");
    return;
  }
  for (int ranks = 1; ranks <= most_ranks(); ++ranks)
    allfold::spawn(ranks, [&](allfold::threads::communicator& threads) {
      world_type world{std::move(threads), 0};
      body(world);
    });
}

using ints = std::vector<int>;

ints from(int first, std::size_t count) {
  ints made(count);
  std::iota(made.begin(), made.end(), first);
  return made;
}

}  // namespace

TEST_CASE("types and operations have NCCL's names") {
  CHECK(allfold::nccl::folded_type<float>() == ncclFloat32);
  CHECK(allfold::nccl::folded_type<double>() == ncclFloat64);
  CHECK(allfold::nccl::folded_type<allfold::half>() == ncclFloat16);
  CHECK(allfold::nccl::folded_type<allfold::bfloat16>() == ncclBfloat16);
  CHECK(allfold::nccl::folded_type<signed char>() == ncclInt8);
  CHECK(allfold::nccl::folded_type<unsigned>() == ncclUint32);
  CHECK(allfold::nccl::folded_type<long long>() == ncclInt64);
  CHECK(allfold::nccl::operation_of<allfold::average>() == ncclAvg);
  CHECK(allfold::nccl::operation_of<allfold::maximum>() == ncclMax);
}

TEST_CASE("a rank that does not exist is refused at the door") {
  const auto make = [](int rank, int size) { world_type world{ncclUniqueId{}, rank, size, 0}; };
  CHECK_THROWS_WITH_AS(make(2, 2), doctest::Contains("there is no rank 2 among 2 ranks"),
                       allfold::usage_error);
  CHECK_THROWS_AS(make(-1, 2), allfold::usage_error);
  CHECK_THROWS_AS(make(0, 0), allfold::usage_error);
}

TEST_CASE("without a GPU every rank is told so, and none hangs") {
  if (has_gpu()) {
    MESSAGE("skipped: there is a CUDA device");
    return;
  }
  const auto thrown = allfold::try_spawn(2, [](allfold::threads::communicator& threads) {
    world_type world{std::move(threads), 0};
  });
  for (const std::exception_ptr& each : thrown) {
    REQUIRE(each);
    CHECK_THROWS_AS(std::rethrow_exception(each), allfold::error);
  }
}

TEST_CASE("folds") {
  on_ranks([](world_type& world) {
    const int n = world.size();
    device_buffer<int> data{ints{world.rank(), 1, 7}};
    allfold::all_reduce<native>(world, data);
    world.synchronize();
    CHECK(data.to_host() == ints{n * (n - 1) / 2, n, 7 * n});
    allfold::all_reduce(world, data, allfold::maximum{});
    allfold::reduce<native>(world, data, n - 1);
    allfold::barrier(world);
    if (world.rank() == n - 1) CHECK(data.to_host()[1] == n * n);
    device_buffer<int> all{from(world.rank(), static_cast<std::size_t>(2 * n))};
    device_buffer<int> part{2};
    allfold::reduce_scatter<native>(world, all, part);
    world.synchronize();
    const int first = 2 * world.rank() * n + n * (n - 1) / 2;
    CHECK(part.to_host() == ints{first, first + n});
  });
}

TEST_CASE("moves") {
  on_ranks([](world_type& world) {
    const int rank = world.rank();
    const auto n = static_cast<std::size_t>(world.size());
    device_buffer<int> data{ints(3, rank)}, all{3 * n};
    allfold::all_gather<native>(world, data, all);
    allfold::broadcast<native>(world, data, world.size() - 1);
    world.synchronize();
    for (std::size_t i = 0; i < 3 * n; ++i) CHECK(all.to_host()[i] == static_cast<int>(i / 3));
    CHECK(data.to_host() == ints(3, world.size() - 1));
    device_buffer<int> exchanged{from(10 * rank, n)};
    allfold::all_to_all<native>(world, exchanged);
    world.synchronize();
    for (std::size_t i = 0; i < n; ++i)
      CHECK(exchanged.to_host()[i] == 10 * static_cast<int>(i) + rank);
    std::vector<std::size_t> counts(n);
    std::iota(counts.begin(), counts.end(), std::size_t{1});
    const std::size_t own = counts[static_cast<std::size_t>(rank)];
    const std::size_t whole = n * (n + 1) / 2;
    device_buffer<int> given{from(0, whole)}, part{own}, gathered{whole};
    allfold::scatter<native>(world, given, part, counts);
    allfold::gather<native>(world, part, gathered, counts);
    world.synchronize();
    if (rank == 0) CHECK(gathered.to_host() == from(0, whole));
  });
}

TEST_CASE("a mismatch of threads is told on every rank") {
  on_ranks([](world_type& world) {
    if (world.size() == 1) return;
    device_buffer<int> data{ints(4, 1)};
    const auto call = [&] {
      if (world.rank() == 0)
        allfold::broadcast(world, data);
      else
        allfold::all_reduce(world, data);
    };
    CHECK_THROWS_AS(call(), allfold::mismatch_error);
  });
}

TEST_CASE("strategies train over NCCL") {
  struct model {
    device_buffer<float> weights{std::vector<float>{1, 2}}, slopes{std::vector<float>{0, 0}};
    std::vector<allfold::device_span<float>> parameters() { return {allfold::span_of(weights)}; }
    std::vector<allfold::device_span<float>> gradients() { return {allfold::span_of(slopes)}; }
  };
  on_ranks([](world_type& world) {
    model its;
    allfold::data_parallel<model, allfold::distributed<native>> replica{
        its, world, {.scale = allfold::scale::mean_over_samples}};
    its.slopes.copy_from({static_cast<float>(world.rank()), 4});
    replica.reduce_gradients(1);
    world.synchronize();
    const float mean = static_cast<float>(world.size() - 1) / 2;
    CHECK(its.slopes.to_host() == std::vector<float>{mean, 4});
  });
}

namespace {

/// Three gradients, in buckets of their own.
struct layers {
  device_buffer<float> weights{std::vector<float>(3 * 1'000)}, slopes{weights.size()};

  static std::vector<allfold::device_span<float>> cut(device_buffer<float>& all) {
    std::vector<allfold::device_span<float>> parts;
    for (std::size_t i = 0; i < 3; ++i)
      parts.push_back(allfold::span_of(all).subspan(i * 1'000, 1'000));
    return parts;
  }
  std::vector<allfold::device_span<float>> parameters() { return cut(weights); }
  std::vector<allfold::device_span<float>> gradients() { return cut(slopes); }
};

/// Gradients that come from the rank's stream and from another in turns, and what becomes of them.
void train_meanwhile(world_type& world, allfold::overlap how) {
  layers its;
  allfold::data_parallel<layers, allfold::distributed<native, allfold::buckets<4'000, 4'000>>>
      replica{its, world, {.overlap = how}};
  CHECK(replica.overlaps() == (how == allfold::overlap::by_thread && world.size() > 1));
  CHECK(replica.buckets().size() == 3);
  allfold::cuda::stream other;
  allfold::cuda::event here;
  const auto mean = static_cast<float>(world.size() - 1) / 2;
  for (int step = 0; step < 10; ++step) {
    const device_buffer<float> values{
        std::vector<float>(1'000, static_cast<float>(world.rank() + step))};
    here.record(world.stream());
    here.hold_back(other.get());
    replica.backward([&](auto&& ready) {
      for (std::size_t i = 3; i-- > 0;) {
        const cudaStream_t in = i == 1 ? other.get() : world.stream();
        const auto slope = its.gradients()[i];
        allfold::cuda::check(cudaMemcpyAsync(slope.data(), values.data(), slope.size_bytes(),
                                             cudaMemcpyDeviceToDevice, in),
                             "cudaMemcpyAsync");
        if (i == 1)
          ready(i, in);
        else
          ready(i);
      }
    });
    world.synchronize();
    const std::vector<float> found = its.slopes.to_host();
    CHECK(found == std::vector<float>(3'000, mean + static_cast<float>(step)));
  }
}

}  // namespace

TEST_CASE("gradients are reduced meanwhile by a thread, where ranks are threads") {
  on_ranks([](world_type& world) {
    CHECK_FALSE(world.enqueues_at_once());
    for (const auto how : {allfold::overlap::by_thread, allfold::overlap::none})
      train_meanwhile(world, how);
  });
}

TEST_CASE("they are by the rank's own thread, where NCCL alone connects ranks") {
  if (!has_gpu()) {
    MESSAGE("skipped: no CUDA device");
    return;
  }
  for (int ranks = 1; ranks <= most_ranks(); ++ranks) {
    ncclUniqueId id{};
    REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
    allfold::spawn(ranks, [&](allfold::threads::communicator& threads) {
      world_type world{id, threads.rank(), threads.size(), 0};
      CHECK(world.enqueues_at_once());
      for (const auto how : {allfold::overlap::by_thread, allfold::overlap::none})
        train_meanwhile(world, how);
    });
  }
}

TEST_CASE("an engine that throws in the middle of a backward pass ends all ranks") {
  if (!has_gpu() || most_ranks() < 2) {
    MESSAGE("skipped: no CUDA device, or an NCCL that takes one rank on it");
    return;
  }
  const auto thrown = allfold::try_spawn(2, [](allfold::threads::communicator& threads) {
    world_type world{std::move(threads), 0};
    layers its;
    allfold::data_parallel<layers, allfold::distributed<native, allfold::buckets<4'000, 4'000>>>
        replica{its, world, {.overlap = allfold::overlap::by_thread}};
    replica.backward([&](auto&& ready) {
      ready(std::size_t{2});
      if (world.rank() == 1) throw std::runtime_error{"the loss is no number"};
      ready(std::size_t{0}, std::size_t{2});
    });
    world.synchronize();
  });
  REQUIRE(thrown.at(0));
  CHECK_THROWS_WITH_AS(std::rethrow_exception(thrown[0]),
                       doctest::Contains("rank 1 threw: the loss is no number"),
                       allfold::rank_lost_error);
}
