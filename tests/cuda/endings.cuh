// How ranks on a GPU end, and what makes their kernels wait.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "communicator/outcome.hpp"
#include "cuda/on_device.cuh"

namespace endings {

using namespace outcomes;
using on_device::numbers;
using test::world;
using floats = thrust::device_vector<float>;

/// How each rank's work ended, its collectives included.
inline std::vector<outcome> run(int ranks, const std::function<void(world&)>& body,
                                std::chrono::steady_clock::duration timeout = patient) {
  std::vector<outcome> all(at(ranks));
  const auto noted = [&](world& world) {
    try {
      body(world);
      world.synchronize();
    } catch (...) {
      all[at(world.rank())] = outcome_of(std::current_exception());
      throw;
    }
  };
  try {
    test::run_world(ranks, noted, timeout);
  } catch (const std::exception&) {  // one of those that are noted
  }
  return all;
}

/// The GPU works, whatever was before.
inline void check_that_it_works() {
  test::failures list;
  test::run_world(3, [&](world& world) {
    on_device::tally it{world, 10'000};
    it.give<allfold::direct>(world);
    it.give<allfold::ring>(world);
    it.check(world, 2, "afterwards", list);
  });
  CHECK_NONE(list);
}

inline void check_all(const std::vector<outcome>& all, ending how,
                      const std::vector<std::string>& words) {
  for (const outcome& each : all) {
    CAPTURE(each.text);
    CHECK(each.how == how);
    for (const std::string& word : words) CHECK(each.says(word));
  }
  check_that_it_works();
}

/// a + b, after a while if a is `magic`.
struct dawdling_sum {
  static constexpr float magic = 12345.0f;
  unsigned long long nanoseconds;

  ALLFOLD_HOST_DEVICE float operator()(float a, float b) const {
#ifdef __CUDA_ARCH__
    if (a == magic) {
      const auto begin = allfold::cuda::kernel_access<allfold::cuda::gpu_scope>::now();
      while (allfold::cuda::kernel_access<allfold::cuda::gpu_scope>::now() - begin < nanoseconds) {
      }
    }
#endif
    return a + b;
  }
};

constexpr std::size_t long_count = 100'000;

/// Ones, but rank 0's last element is the magic one. So the last rank's kernel dawdles in `direct`,
/// which folds in rank order, chunk by chunk.
inline floats ones_and_magic(const world& ranks) {
  floats data(long_count, 1.0f);
  if (ranks.rank() == 0) data.back() = dawdling_sum::magic;
  return data;
}

}  // namespace endings
