// all_reduce<direct> of two ranks beside what two threads can do at best by hand, in one run.
//
// The floors are those of floor.hpp: one hop for short messages, zero copy for long ones. Floors
// and library take turns in one process, so that both see the same machine; what counts is the
// ratio. Prints a table, or JSON with --json.
#include "floor.hpp"

#include <algorithm>
#include <allfold/allfold.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string_view>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

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
  auto shared = std::make_unique<floors::shared_state<2>>(allfold::usable_cores() < 2);
  allfold::spawn(2, [&](auto& world) {
    const std::size_t count = bytes / sizeof(float);
    std::vector<float> data(count, 0.0f);  // sums of zeros: no overflow after any number of rounds
    const int iterations =
        static_cast<int>(std::clamp<std::size_t>((8u << 20) / (bytes + 64), 1, 4000));
    std::vector<double> hop, copy, library;
    for (int round = -1; round < rounds; ++round) {
      allfold::barrier(world);
      const double c = microseconds_each(
          iterations, [&] { shared->zero_copy(world.rank(), data.data(), count); });
      allfold::barrier(world);
      const double l =
          microseconds_each(iterations, [&] { allfold::all_reduce<allfold::direct>(world, data); });
      allfold::barrier(world);
      const double h = bytes > floors::one_hop_bytes ? 0.0 : microseconds_each(iterations, [&] {
        shared->one_hop(world.rank(), data.data(), count);
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
