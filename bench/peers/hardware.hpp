// What the machine itself can do: how fast a cache line goes to another core and back, how fast
// memory is copied and read.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace peers {

/// Two threads hand each other a counter.
class ping_pong {
 public:
  /// Each iteration is one way, from rank 0 in the odd ones and back in the even ones.
  void operator()(int rank, int iterations) {
    if (rank > 1) return;
    for (int i = 0; i < iterations; ++i) {
      const std::uint64_t turn = ++turns_[rank].value;
      if (turn % 2 == static_cast<std::uint64_t>(rank)) {
        while (ball_.value.load(std::memory_order_acquire) < turn) continue;
      } else {
        while (ball_.value.load(std::memory_order_acquire) < turn - 1) continue;
        ball_.value.store(turn, std::memory_order_release);
      }
    }
  }

 private:
  struct alignas(128) ball {
    std::atomic<std::uint64_t> value{0};
  };
  struct alignas(128) count {
    std::uint64_t value = 0;
  };

  ball ball_;
  count turns_[2];
};

/// One half of the memory is copied to the other.
inline void copy_memory(float* data, std::size_t count) {
  std::memcpy(data, data + count / 2, count / 2 * sizeof(float));
}

/// a[i] = b[i] + s · c[i], as in STREAM: https://www.cs.virginia.edu/stream/
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("O3")))
#endif
inline void
triad(float* data, std::size_t count) {
  const std::size_t third = count / 3;
  float* __restrict const a = data;
  const float* __restrict const b = data + third;
  const float* __restrict const c = data + 2 * third;
  for (std::size_t i = 0; i < third; ++i) a[i] = b[i] + 3.0f * c[i];
}

}  // namespace peers
