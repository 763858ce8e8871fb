// A model in a GPU's memory, or in the host's, and its training: to bits that can be compared.
#pragma once

#include <thrust/copy.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/tabulate.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "cuda/on_device.cuh"

namespace training {

using allfold::memory_space;
using floats = std::vector<float>;

constexpr std::size_t sizes[] = {1'000, 37, 70'001, 1, 9'000, 20'000};
constexpr std::size_t size_count = std::size(sizes);
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

/// data[i] = value(i), in a stream.
template <class Value>
void tabulate(cudaStream_t stream, float* data, std::size_t count, Value value) {
  const thrust::device_ptr<float> first{data};
  thrust::tabulate(thrust::cuda::par_nosync.on(stream), first,
                   first + static_cast<std::ptrdiff_t>(count), value);
}
/// The same in the order of the rank's collectives.
template <class World, class Value>
void tabulate(const World& ranks, float* data, std::size_t count, Value value) {
  if constexpr (World::space == memory_space::host)
    for (std::size_t i = 0; i < count; ++i) data[i] = value(i);
  else
    tabulate(ranks.stream(), data, count, value);
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

  /// Computes gradient k in a stream, or in the order of a rank's collectives.
  template <class Place>
  void compute(const Place& in, int rank, std::size_t k) {
    tabulate(in, gradients()[k].data(), sizes[k],
             slope{parameters()[k].data(), static_cast<unsigned>(rank)});
  }
  /// The last gradient first.
  template <class World, class Ready>
  void backward(const World& ranks, Ready&& ready) {
    for (std::size_t k = size_count; k-- > 0;) {
      compute(ranks, ranks.rank(), k);
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

/// Steps by gradient descent.
template <class World>
auto descent(const World& ranks) {
  return [&ranks](auto parameter, auto gradient) {
    tabulate(ranks, parameter.data(), parameter.size(),
             descended{parameter.data(), gradient.data()});
  };
}

/// One rank's training by `engine(model, ready)`: what it holds in the end.
template <class Strategy, class World, class Engine>
floats trained(World& ranks, allfold::data_parallel_options how, Engine engine) {
  model<World::space> mine{ranks.rank()};
  allfold::data_parallel<model<World::space>, Strategy> replica{mine, ranks, how};
  for (int step = 0; step < steps; ++step) {
    replica.backward([&](auto&& ready) { engine(mine, ready); },
                     static_cast<std::size_t>(10 + ranks.rank()));
    replica.step(descent(ranks));
  }
  return mine.held(ranks);
}
template <class Strategy, class World>
floats trained(World& ranks, allfold::data_parallel_options how) {
  return trained<Strategy>(ranks, how,
                           [&](auto& mine, auto& ready) { mine.backward(ranks, ready); });
}

inline bool same_bits(const floats& a, const floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// What all ranks hold in the end; they must hold the same.
template <class Strategy>
floats trained_on_gpu(int ranks, allfold::data_parallel_options how = {}) {
  std::vector<floats> held(static_cast<std::size_t>(ranks));
  test::run_world(ranks, [&](test::world& world) {
    held[static_cast<std::size_t>(world.rank())] = trained<Strategy>(world, how);
  });
  for (const floats& each : held) CHECK(same_bits(each, held[0]));
  return held[0];
}
template <class Strategy>
floats trained_on_host(int ranks, allfold::data_parallel_options how = {}) {
  floats held;
  allfold::spawn(ranks, [&](auto& world) {
    const floats mine = trained<Strategy>(world, how);
    if (world.rank() == 0) held = mine;
  });
  return held;
}

}  // namespace training
