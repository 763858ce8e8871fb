// Gradients in a GPU's memory that are reduced while the backward pass goes on.
#include <thrust/fill.h>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <stdexcept>
#include <thread>

#include <allfold/communicator/cuda_processes.cuh>

#include "cuda/endings.cuh"
#include "cuda/training.cuh"

namespace {

using namespace training;
using namespace outcomes;
using namespace std::chrono_literals;
using allfold::distributed;
using allfold::overlap;
using allfold::primary_device;
using allfold::cuda::check;
using buckets = allfold::buckets<4'000, 60'000>;
using device_model = model<memory_space::device>;
using clock_type = allfold::cuda::kernel_access<allfold::cuda::gpu_scope>;

/// Keeps a stream busy.
__global__ void dawdle(unsigned long long nanoseconds) {
  const auto begin = clock_type::now();
  while (clock_type::now() - begin < nanoseconds) {
  }
}

/// An engine that computes gradients in an order of the rank's own, on its stream and two others in
/// turns, each a little later than the host might think.
class wild_engine {
 public:
  explicit wild_engine(const test::world& ranks)
      : ranks_{ranks}, random_{static_cast<unsigned>(ranks.rank())} {}

  template <class Ready>
  void operator()(device_model& mine, Ready& ready) {
    here_.record(ranks_.stream());
    for (allfold::cuda::stream& each : others_) here_.hold_back(each.get());
    std::array<std::size_t, size_count> order;
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), random_);
    for (const std::size_t k : order) {
      const std::size_t which = random_() % 3;
      const cudaStream_t in = which == 2 ? ranks_.stream() : others_[which].get();
      dawdle<<<1, 1, 0, in>>>(100'000);
      check(cudaGetLastError(), "the launch of dawdle");
      mine.compute(in, ranks_.rank(), k);
      if (which == 2)
        ready(k);
      else
        ready(k, in);
    }
  }

 private:
  const test::world& ranks_;
  std::mt19937 random_;
  std::array<allfold::cuda::stream, 2> others_;
  allfold::cuda::event here_;
};

/// What all ranks hold after a training by the wild engine; they must hold the same.
template <class Strategy>
floats trained_wildly(int ranks, overlap how) {
  std::vector<floats> held(at(ranks));
  test::run_world(ranks, [&](test::world& world) {
    wild_engine engine{world};
    held[at(world.rank())] = trained<Strategy>(world, {.overlap = how}, std::ref(engine));
  });
  for (const floats& each : held) CHECK(same_bits(each, held[0]));
  return held[0];
}

}  // namespace

TEST_CASE_TEMPLATE("gradients that are reduced meanwhile train to the same bits", strategy,
                   distributed<allfold::direct, buckets>, distributed<allfold::ring, buckets>,
                   distributed<allfold::tree, buckets>,
                   distributed<allfold::halving_doubling, buckets>, distributed<allfold::automatic>,
                   primary_device<0, buckets>) {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    CAPTURE(ranks);
    const floats afterwards = trained_on_gpu<strategy>(ranks, {.overlap = overlap::none});
    CHECK(same_bits(afterwards, trained_on_gpu<strategy>(ranks, {.overlap = overlap::by_thread})));
    CHECK(same_bits(afterwards, trained_wildly<strategy>(ranks, overlap::by_thread)));
    CHECK(same_bits(afterwards, trained_wildly<strategy>(ranks, overlap::none)));
  }
}

TEST_CASE("they do with every scale") {
  using strategy = distributed<allfold::direct, buckets>;
  for (const auto scale : {allfold::scale::mean_over_samples, allfold::scale::sum})
    CHECK(same_bits(trained_on_gpu<strategy>(3, {.scale = scale, .overlap = overlap::none}),
                    trained_on_gpu<strategy>(3, {.scale = scale, .overlap = overlap::by_thread})));
}

TEST_CASE("a replica has a companion with a stream of its own, and several buckets") {
  test::failures list;
  test::run_world(3, [&](test::world& world) {
    device_model mine{world.rank()};
    allfold::data_parallel<device_model, distributed<allfold::direct, buckets>> replica{
        mine, world, {.overlap = overlap::by_thread}};
    if (!replica.overlaps()) list.add("it does not overlap");
    if (replica.buckets().size() < 3) list.add("too few buckets");
    test::world beside = world.companion();
    if (beside.stream() == world.stream() || beside.gpu() != world.gpu() ||
        beside.rank() != world.rank() || beside.size() != world.size())
      list.add("a wrong companion");
  });
  CHECK_NONE(list);
}

namespace {

/// Holds a stream up until the host opens the gate, or for so many nanoseconds.
__global__ void wait_at(const volatile unsigned* gate, unsigned long long nanoseconds) {
  const auto begin = clock_type::now();
  while (*gate == 0 && clock_type::now() - begin < nanoseconds) {
  }
}

constexpr std::size_t part = 3'000;

/// Memory that the host can look into while a GPU works on it.
struct shared_memory {
  float values[2 * part], slopes[2 * part];
  unsigned gate;
};
struct watched_model {
  allfold::cuda::mapped<shared_memory> memory;

  static auto parts(float* all) {
    using span = allfold::device_span<float>;
    return std::array{span{all, part}, span{all + part, part}};
  }
  auto parameters() { return parts(memory.get()->values); }
  auto gradients() { return parts(memory.get()->slopes); }
};

template <class T>
T seen(const T& in_memory) {
  return *static_cast<const volatile T*>(&in_memory);
}

}  // namespace

TEST_CASE("a bucket is reduced while the compute stream is held up behind its gradients") {
  for (const int ranks : {2, 4}) {
    test::failures list;
    test::run_world(ranks, [&](test::world& world) {
      watched_model mine;
      allfold::data_parallel<watched_model,
                             distributed<allfold::direct, allfold::buckets<4 * part, 4 * part>>>
          replica{mine, world, {.overlap = overlap::by_thread}};
      shared_memory& memory = *mine.memory.get();
      const auto fill = [&](float* begin) {
        thrust::fill(on_device::on(world), thrust::device_ptr<float>{begin},
                     thrust::device_ptr<float>{begin + part}, static_cast<float>(world.rank()));
      };
      const float mean = static_cast<float>(ranks - 1) / 2;
      replica.backward([&](auto&& ready) {
        fill(memory.slopes + part);
        ready(1);
        wait_at<<<1, 1, 0, world.stream()>>>(&memory.gate, 20'000'000'000);
        check(cudaGetLastError(), "the launch of wait_at");
        fill(memory.slopes);
        ready(0);
        // The host goes on, though the compute stream does not.
        const auto last = std::chrono::steady_clock::now() + 10s;
        while (seen(memory.slopes[2 * part - 1]) != mean) {
          if (std::chrono::steady_clock::now() > last) {
            list.add("not reduced before the gate is open");
            break;
          }
          std::this_thread::sleep_for(1ms);
        }
        allfold::barrier(world.control());  // all have seen it
        *static_cast<volatile unsigned*>(&memory.gate) = 1;
      });
      world.synchronize();
      for (const float each : memory.slopes)
        if (each != mean) {
          list.add("a wrong mean: " + std::to_string(each));
          break;
        }
    });
    CHECK_NONE(list);
  }
}

TEST_CASE("an engine that throws in the middle is heard of, and the GPU works on") {
  for (const int odd : {0, 2}) {
    const auto all = endings::run(3, [&](test::world& world) {
      device_model mine{world.rank()};
      allfold::data_parallel<device_model, distributed<allfold::ring, buckets>> replica{
          mine, world, {.overlap = overlap::by_thread}};
      for (int step = 0; step < 4; ++step) {
        replica.backward([&](auto&& ready) {
          mine.backward(world, [&](std::size_t k) {
            if (world.rank() == odd && step == 2 && k == 1)
              throw std::runtime_error{"the loss is no number"};
            ready(k);
          });
        });
        replica.step(descent(world));
      }
    });
    for (int rank = 0; rank < 3; ++rank) {
      CAPTURE(all[at(rank)].text);
      if (rank == odd) {
        CHECK(all[at(rank)].text == "the loss is no number");
      } else {
        CHECK(all[at(rank)].how == ending::lost);
        CHECK(all[at(rank)].says(rank_name(odd) + " threw: the loss is no number"));
      }
    }
    endings::check_that_it_works();
  }
}

TEST_CASE("collectives of the engine's own go on beside") {
  test::failures list;
  test::run_world(3, [&](test::world& world) {
    device_model mine{world.rank()};
    allfold::data_parallel<device_model, distributed<allfold::direct, buckets>> replica{
        mine, world, {.overlap = overlap::by_thread}};
    on_device::tally own{world, 20'000};
    for (int step = 0; step < 20; ++step)
      replica.backward([&](auto&& ready) {
        mine.backward(world, [&](std::size_t k) {
          ready(k);
          own.give<allfold::ring>(world);
        });
      });
    own.check(world, static_cast<unsigned>(20 * size_count), "its own", list);
  });
  CHECK_NONE(list);
}

TEST_CASE("a process that is a rank alone has a companion in the same arena") {
  using allfold::cuda::process_communicator;
  const auto exchange = [](const void* mine, std::size_t size, void* all) {
    std::memcpy(all, mine, size);
  };
  const allfold::cuda::stream engines;
  process_communicator world{
      0, 1, 0, exchange, {.arena_bytes = std::size_t{8} << 20, .staging_bytes = 1 << 20}};
  process_communicator beside = world.companion();
  CHECK(beside.stream() != world.stream());
  const auto inside = world.allocate<float>(1'000);
  allfold::cuda::device_buffer<float> outside{floats(1'000, 3.0f)}, other{floats(1'000, 4.0f)};
  check(cudaMemcpy(inside.data(), outside.data(), inside.size_bytes(), cudaMemcpyDeviceToDevice),
        "cudaMemcpy");
  for (int round = 0; round < 20; ++round) {
    allfold::all_reduce<allfold::direct>(beside, inside);
    allfold::all_reduce<allfold::ring>(beside, outside);
    allfold::all_reduce<allfold::ring>(world, other);
    if (round == 10) world.use_stream(engines.get());
  }
  CHECK(world.stream() == engines.get());
  beside.synchronize();
  world.synchronize();
  CHECK(outside.to_host() == floats(1'000, 3.0f));
  CHECK(other.to_host() == floats(1'000, 4.0f));

  device_model mine{0};
  allfold::data_parallel<device_model, distributed<allfold::direct, buckets>> replica{mine, world};
  replica.backward([&](auto&& ready) {
    for (std::size_t k = 0; k < size_count; ++k) {
      mine.compute(world.stream(), 0, k);
      ready(k, world.stream());
    }
  });
  world.synchronize();
}
