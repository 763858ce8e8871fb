// all_reduce<direct> of two ranks beside what two threads can do at best by hand, in one run.
//
// Two floors, written for this one case alone: no checks, no time limit, nothing but the counters.
//  - one hop: each thread puts its elements beside its counter, in the same cache line where they
//    fit, and adds the other's; for short messages.
//  - zero copy: each thread adds one half and writes it to both; for long ones.
// Floors and library take turns in one process, so that both see the same machine; what counts is
// the ratio. Prints a table, or JSON with --json.
#include <algorithm>
#include <allfold/allfold.hpp>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

// Vectorised at -O2 too: the floor is to be as fast as the compiler can make it.
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("O3")))
#endif
void add_to_both(float* __restrict a, float* __restrict b, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const float sum = a[i] + b[i];
    a[i] = sum;
    b[i] = sum;
  }
}

template <class Ready>
void spin(Ready ready) {
  for (int looks = 0; !ready(); ++looks) {
    allfold::relax();
    if (looks > 1 << 16) std::this_thread::yield();
  }
}

struct alignas(128) counter {
  std::atomic<std::uint64_t> value{0};
};

struct alignas(64) mailbox {
  std::atomic<std::uint64_t> value{0};
  float payload[1024 / sizeof(float) + 14];
};

struct floor_state {
  counter counters[2];
  mailbox mailboxes[2][2];  // by rank and parity, so that nobody waits to leave
  float* data[2];
};

void zero_copy(floor_state& shared, int rank, float* data, std::size_t count, std::uint64_t& base) {
  shared.data[rank] = data;
  auto& mine = shared.counters[rank].value;
  auto& its = shared.counters[1 - rank].value;
  mine.store(base + 1, std::memory_order_release);
  spin([&] { return its.load(std::memory_order_acquire) >= base + 1; });
  const std::size_t half = (count / 2 + 15) / 16 * 16;
  const std::size_t middle = std::min(half, count);
  float* const other = shared.data[1 - rank];
  if (rank == 0)
    add_to_both(data, other, middle);
  else
    add_to_both(data + middle, other + middle, count - middle);
  mine.store(base + 2, std::memory_order_release);
  spin([&] { return its.load(std::memory_order_acquire) >= base + 2; });
  base += 2;
}

void one_hop(floor_state& shared, int rank, float* data, std::size_t count, std::uint64_t& base) {
  ++base;
  mailbox& mine = shared.mailboxes[rank][base % 2];
  mailbox& its = shared.mailboxes[1 - rank][base % 2];
  std::memcpy(mine.payload, data, count * sizeof(float));
  mine.value.store(base, std::memory_order_release);
  spin([&] { return its.value.load(std::memory_order_acquire) >= base; });
  const float* const first = rank == 0 ? data : its.payload;
  const float* const second = rank == 0 ? its.payload : data;
  for (std::size_t i = 0; i < count; ++i) data[i] = first[i] + second[i];
}

struct row {
  std::size_t bytes = 0;
  double one_hop = 0, zero_copy = 0, allfold = 0;  // µs, medians
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

template <class Work>
double microseconds_each(int iterations, Work work) {
  const auto begin = clock_type::now();
  for (int i = 0; i < iterations; ++i) work();
  return std::chrono::duration<double, std::micro>(clock_type::now() - begin).count() / iterations;
}

row measure(std::size_t bytes, int rounds) {
  row result{bytes};
  auto shared = std::make_unique<floor_state>();
  allfold::spawn(2, [&](auto& world) {
    const std::size_t count = bytes / sizeof(float);
    std::vector<float> data(count, 0.0f);  // sums of zeros: no overflow after any number of rounds
    std::uint64_t hop_base = 0, copy_base = 0;
    const int iterations =
        static_cast<int>(std::clamp<std::size_t>((8u << 20) / (bytes + 64), 1, 4000));
    std::vector<double> hop, copy, library;
    for (int round = -1; round < rounds; ++round) {
      allfold::barrier(world);
      const double c = microseconds_each(
          iterations, [&] { zero_copy(*shared, world.rank(), data.data(), count, copy_base); });
      allfold::barrier(world);
      const double l =
          microseconds_each(iterations, [&] { allfold::all_reduce<allfold::direct>(world, data); });
      allfold::barrier(world);
      const double h = bytes > 1024 ? 0.0 : microseconds_each(iterations, [&] {
        one_hop(*shared, world.rank(), data.data(), count, hop_base);
      });
      if (round < 0) continue;  // warm-up
      hop.push_back(h);
      copy.push_back(c);
      library.push_back(l);
    }
    if (world.rank() == 0) result = {bytes, median(hop), median(copy), median(library)};
  });
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  const bool json = argc > 1 && std::string_view{argv[1]} == "--json";
  if (json)
    std::puts("[");
  else
    std::puts(
        "all_reduce<direct>, 2 ranks as threads, float32 sum, in place; medians, microseconds\n"
        "       bytes   one hop  zero copy   allfold   / one hop  / zero copy");
  for (std::size_t bytes = 8; bytes <= std::size_t{64} << 20; bytes *= bytes < 1024 ? 2 : 4) {
    const row it = measure(bytes, bytes > (1u << 20) ? 11 : 31);
    const bool hop = it.one_hop > 0;
    if (json) {
      std::printf(
          "  {\"bytes\": %zu, \"one_hop_us\": %.4f, \"zero_copy_us\": %.4f, \"allfold_us\": "
          "%.4f}%s\n",
          it.bytes, it.one_hop, it.zero_copy, it.allfold,
          bytes * 4 > (std::size_t{64} << 20) ? "" : ",");
    } else if (hop) {
      std::printf("%12zu %9.3f %10.3f %9.3f %11.2f %12.2f\n", it.bytes, it.one_hop, it.zero_copy,
                  it.allfold, it.allfold / it.one_hop, it.allfold / it.zero_copy);
    } else {
      std::printf("%12zu         - %10.3f %9.3f           - %12.2f\n", it.bytes, it.zero_copy,
                  it.allfold, it.allfold / it.zero_copy);
    }
    std::fflush(stdout);
  }
  if (json) std::puts("]");
}
