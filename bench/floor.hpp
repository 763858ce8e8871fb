// What threads can do at best by hand: the floors that the library is measured against.
//
// Written for one case alone, an all-reduce of floats, summed in place: no checks, no time limit,
// nothing but the counters.
//  - one hop: each thread puts its elements beside its counter, in the same cache line where they
//    fit, and adds the others'; for short messages.
//  - zero copy: each thread adds up its share of all threads' elements and writes it to all of
//    them; for long ones.
#pragma once

#include <algorithm>
#include <allfold/communicator/patience.hpp>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>

// Vectorised at -O2 too: the floor is to be as fast as the compiler can make it.
#if defined(__GNUC__) && !defined(__clang__)
#define FLOOR_AT_FULL_SPEED __attribute__((optimize("O3")))
#else
#define FLOOR_AT_FULL_SPEED
#endif

namespace floors {

/// The largest message in bytes that takes one hop.
inline constexpr std::size_t one_hop_bytes = 1024;

/// Sixteen bytes of elements, at any address.
typedef float vector __attribute__((vector_size(16), aligned(4), may_alias));

/// Adds up `count` elements of all threads from `first` on and writes the sums to all of them. Two
/// cache lines of each thread's elements at a time, in registers: out of the caches that is faster
/// than going from one thread's to the other's with every few bytes.
template <std::size_t Size>
FLOOR_AT_FULL_SPEED void add_up(const std::array<float*, Size>& data, std::size_t first,
                                std::size_t count) {
  constexpr std::size_t vectors = 8, block = vectors * sizeof(vector) / sizeof(float);
  float* at[Size];
  for (std::size_t k = 0; k < Size; ++k) at[k] = data[k] + first;
  std::size_t i = 0;
  for (; i + block <= count; i += block) {
    vector sum[vectors];
    const auto of = [&](std::size_t k) { return reinterpret_cast<vector*>(at[k] + i); };
    for (std::size_t j = 0; j < vectors; ++j) sum[j] = of(0)[j];
    for (std::size_t k = 1; k < Size; ++k)
      for (std::size_t j = 0; j < vectors; ++j) sum[j] += of(k)[j];
    for (std::size_t k = 0; k < Size; ++k)
      for (std::size_t j = 0; j < vectors; ++j) of(k)[j] = sum[j];
  }
  for (; i < count; ++i) {
    float sum = at[0][i];
    for (std::size_t k = 1; k < Size; ++k) sum += at[k][i];
    for (std::size_t k = 0; k < Size; ++k) at[k][i] = sum;
  }
}

/// Writes the sums of all threads' elements to `target`, which may be one of them.
template <std::size_t Size>
FLOOR_AT_FULL_SPEED void add_up(const std::array<const float*, Size>& all, float* target,
                                std::size_t count) {
  constexpr std::size_t block = sizeof(vector) / sizeof(float);
  std::size_t i = 0;
  for (; i + block <= count; i += block) {
    vector sum = *reinterpret_cast<const vector*>(all[0] + i);
    for (std::size_t k = 1; k < Size; ++k) sum += *reinterpret_cast<const vector*>(all[k] + i);
    *reinterpret_cast<vector*>(target + i) = sum;
  }
  for (; i < count; ++i) {
    float sum = all[0][i];
    for (std::size_t k = 1; k < Size; ++k) sum += all[k][i];
    target[i] = sum;
  }
}

/// What `Size` threads share, 2 or 4.
template <int Size>
class shared_state {
 public:
  /// `crowded`: there are more threads than cores, so whoever waits yields at once.
  explicit shared_state(bool crowded) : spins_{crowded ? 32 : 1 << 16} {}

  /// One thread's call: afterwards everybody's `data` holds the sum.
  void zero_copy(int rank, float* data, std::size_t count) {
    data_[at(rank)] = data;
    meet(rank);
    const std::size_t even = (count / Size + 15) / 16 * 16;
    const std::size_t begin = std::min(even * at(rank), count);
    const std::size_t end = rank == Size - 1 ? count : std::min(begin + even, count);
    add_up(data_, begin, end - begin);
    meet(rank);
  }

  /// The same for a message of at most `one_hop_bytes`. Nobody waits to leave, since there are two
  /// mailboxes for each thread, taken in turn.
  void one_hop(int rank, float* data, std::size_t count) {
    const std::uint64_t now = ++hops_[at(rank)].value;
    mailbox& mine = mailboxes_[at(rank)][now % 2];
    std::memcpy(mine.payload, data, count * sizeof(float));
    mine.value.store(now, std::memory_order_release);
    std::array<const float*, Size> all{};
    for (int peer = 0; peer < Size; ++peer) {
      mailbox& its = mailboxes_[at(peer)][now % 2];
      if (peer != rank) spin([&] { return its.value.load(std::memory_order_acquire) >= now; });
      all[at(peer)] = peer == rank ? data : its.payload;
    }
    add_up(all, data, count);
  }

 private:
  struct alignas(128) counter {
    std::atomic<std::uint64_t> value{0};
  };
  struct alignas(64) mailbox {
    std::atomic<std::uint64_t> value{0};
    float payload[one_hop_bytes / sizeof(float) + 14];
  };

  static std::size_t at(int rank) { return static_cast<std::size_t>(rank); }

  void meet(int rank) {
    auto& mine = counters_[at(rank)].value;
    const std::uint64_t target = mine.load(std::memory_order_relaxed) + 1;
    mine.store(target, std::memory_order_release);
    for (int peer = 0; peer < Size; ++peer) {
      auto& its = counters_[at(peer)].value;
      if (peer != rank) spin([&] { return its.load(std::memory_order_acquire) >= target; });
    }
  }

  template <class Ready>
  void spin(Ready ready) const {
    for (int looks = 0; !ready(); ++looks) {
      if (looks < spins_)
        allfold::relax();
      else
        std::this_thread::yield();
    }
  }

  int spins_;
  std::array<counter, Size> counters_;
  std::array<counter, Size> hops_;  ///< each thread's own count of its calls
  std::array<std::array<mailbox, 2>, Size> mailboxes_;
  std::array<float*, static_cast<std::size_t>(Size)> data_{};
};

}  // namespace floors
