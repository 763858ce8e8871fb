// Models in a GPU's memory, trained by several strategies: to the same bits as each other, and as
// on the host.
#include <thrust/copy.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/tabulate.h>

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "cuda/on_device.cuh"

namespace {

using allfold::distributed;
using allfold::memory_space;
using allfold::primary_device;
using floats = std::vector<float>;

constexpr std::size_t sizes[] = {1'000, 37, 70'001, 1};
constexpr int steps = 25;

/// Element i of a gradient: of the parameter, and of the rank's samples. All rounding is that of
/// one fused operation, so that it is the same everywhere.
struct slope {
  const float* parameter;
  unsigned rank;

  ALLFOLD_HOST_DEVICE float operator()(std::size_t i) const {
    const auto number = static_cast<unsigned>(i) * 2654435761u + rank * 40503u;
    const float sample = static_cast<float>(number % 2000u) - 1000.0f;
    return std::fma(parameter[i], 0.25f + 0.125f * static_cast<float>(rank), sample);
  }
};

/// Element i of a parameter after a step of gradient descent.
struct descended {
  const float *parameter, *gradient;

  ALLFOLD_HOST_DEVICE float operator()(std::size_t i) const {
    return std::fma(-0.07f, gradient[i], parameter[i]);
  }
};

template <memory_space Space>
using storage =
    std::conditional_t<Space == memory_space::host, floats, thrust::device_vector<float>>;

/// data[i] = value(i), in the order of the rank's collectives.
template <class World, class Value>
void tabulate(const World& ranks, float* data, std::size_t count, Value value) {
  if constexpr (World::space == memory_space::host) {
    for (std::size_t i = 0; i < count; ++i) data[i] = value(i);
  } else {
    const thrust::device_ptr<float> first{data};
    thrust::tabulate(on_device::on(ranks), first, first + static_cast<std::ptrdiff_t>(count),
                     value);
  }
}

template <memory_space Space>
class model {
 public:
  explicit model(int rank) {
    for (const std::size_t size : sizes) {
      floats first(size);
      for (std::size_t i = 0; i < size; ++i)  // all ranks' but rank 0's are to be replaced
        first[i] = static_cast<float>((i * 7919) % 1000) / 37.0f + static_cast<float>(rank);
      values_.emplace_back(first.begin(), first.end());
      slopes_.emplace_back(size);
    }
  }
  auto parameters() { return spans_of(values_); }
  auto gradients() { return spans_of(slopes_); }

  template <class World, class Ready>
  void backward(const World& ranks, Ready&& ready) {
    for (std::size_t k = std::size(sizes); k-- > 0;) {
      tabulate(ranks, gradients()[k].data(), sizes[k],
               slope{parameters()[k].data(), static_cast<unsigned>(ranks.rank())});
      ready(k);
    }
  }
  /// All parameters, one behind the other.
  template <class World>
  floats held(World& ranks) {
    if constexpr (World::space == memory_space::device) ranks.synchronize();
    floats all(std::accumulate(std::begin(sizes), std::end(sizes), std::size_t{0}));
    auto next = all.begin();
    for (const auto& each : values_) next = thrust::copy(each.begin(), each.end(), next);
    return all;
  }

 private:
  static auto spans_of(std::vector<storage<Space>>& all) {
    std::vector<decltype(allfold::span_of(all[0]))> spans;
    for (auto& each : all) spans.push_back(allfold::span_of(each));
    return spans;
  }
  std::vector<storage<Space>> values_, slopes_;
};

/// One rank's training: what it holds in the end.
template <class Strategy, class World>
floats trained(World& ranks, allfold::scale how) {
  model<World::space> mine{ranks.rank()};
  allfold::data_parallel<model<World::space>, Strategy> replica{mine, ranks, {.scale = how}};
  const auto descend = [&](auto parameter, auto gradient) {
    tabulate(ranks, parameter.data(), parameter.size(),
             descended{parameter.data(), gradient.data()});
  };
  for (int step = 0; step < steps; ++step) {
    replica.backward([&](auto&& ready) { mine.backward(ranks, ready); },
                     static_cast<std::size_t>(10 + ranks.rank()));
    replica.step(descend);
  }
  return mine.held(ranks);
}

bool same_bits(const floats& a, const floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// What all ranks hold in the end; they must hold the same.
template <class Strategy>
floats trained_on_gpu(int ranks, allfold::scale how = allfold::scale::mean_over_ranks) {
  std::vector<floats> held(static_cast<std::size_t>(ranks));
  test::run_world(ranks, [&](test::world& world) {
    held[static_cast<std::size_t>(world.rank())] = trained<Strategy>(world, how);
  });
  for (const floats& each : held) CHECK(same_bits(each, held[0]));
  return held[0];
}
template <class Strategy>
floats trained_on_host(int ranks, allfold::scale how = allfold::scale::mean_over_ranks) {
  floats held;
  allfold::spawn(ranks, [&](auto& world) {
    const floats mine = trained<Strategy>(world, how);
    if (world.rank() == 0) held = mine;
  });
  return held;
}

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
      CHECK(same_bits(trained_on_gpu<strategy>(ranks, how), trained_on_host<strategy>(ranks, how)));
}

TEST_CASE_TEMPLATE("a step that is recorded trains to the same bits", strategy, primary_device<>,
                   distributed<allfold::direct>) {
  constexpr int ranks = 3;
  std::vector<floats> held(ranks);
  test::run_world(ranks, [&](test::world& world) {
    model<memory_space::device> mine{world.rank()};
    allfold::data_parallel<model<memory_space::device>, strategy> replica{mine, world};
    auto recorded = allfold::cuda::capture(world, [&] {
      replica.backward([&](auto&& ready) { mine.backward(world, ready); });
      replica.step([&](auto parameter, auto gradient) {
        tabulate(world, parameter.data(), parameter.size(),
                 descended{parameter.data(), gradient.data()});
      });
    });
    for (int step = 0; step < steps; ++step) recorded.launch(world);
    held[static_cast<std::size_t>(world.rank())] = mine.held(world);
  });
  const floats eagerly = trained_on_gpu<strategy>(ranks);
  for (const floats& each : held) CHECK(same_bits(each, eagerly));
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
