// What it costs that ranks are processes: all_reduce<direct> among processes beside the same among
// threads.
//
// Threads and processes take turns in one run; what counts is the ratio of a round. Prints a page
// in Markdown. Arguments: rounds, ranks.
#include <algorithm>
#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "page.hpp"

namespace {

using namespace bench;
using allfold::processes::copying;

constexpr std::array<std::size_t, 12> sizes{8,
                                            64,
                                            512,
                                            1024,
                                            4096,
                                            32768,
                                            std::size_t{256} << 10,
                                            std::size_t{1} << 20,
                                            std::size_t{4} << 20,
                                            std::size_t{16} << 20,
                                            std::size_t{32} << 20,
                                            std::size_t{64} << 20};
using times = std::array<double, sizes.size()>;  // seconds of a call, by size

/// Of a call with `data`: the mean of several, the shortest of three turns.
double time_of(auto& world, std::span<float> data) {
  const std::size_t bytes = data.size_bytes();
  const std::size_t calls = std::clamp<std::size_t>((std::size_t{96} << 20) / bytes, 3, 20000);
  std::fill(data.begin(), data.end(), 0.0f);
  double best = 1e9;
  for (int turn = 0; turn < 3; ++turn) {
    allfold::all_reduce<allfold::direct>(world, data);
    allfold::barrier(world);
    const auto begin = std::chrono::steady_clock::now();
    for (std::size_t call = 0; call < calls; ++call)
      allfold::all_reduce<allfold::direct>(world, data);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    best = std::min(best, taken.count() / static_cast<double>(calls));
  }
  return best;
}

/// Of all sizes; `memory(count)` gives the operand. Rank 0 writes down what all took on average.
void measure(auto& world, auto memory, times* found) {
  times mine{};
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    auto data = memory(sizes[i] / sizeof(float));
    mine[i] = time_of(world, std::span<float>{data.data(), data.size()});
  }
  allfold::all_reduce(world, mine, allfold::average{});
  if (world.rank() == 0) *found = mine;
}

const auto own_memory = [](std::size_t count) { return std::vector<float>(count); };

times by_threads(int ranks) {
  times found{};
  allfold::spawn(ranks, [&](auto& world) { measure(world, own_memory, &found); });
  return found;
}
/// `in_arena`: operands lie in the ranks' shared memory.
times by_processes(int ranks, bool in_arena, copying how) {
  const auto region = allfold::processes::shared_region::create(sizeof(times));
  auto* const found = reinterpret_cast<times*>(region.data());
  allfold::spawn_processes(
      ranks,
      [&](allfold::processes::communicator& world) {
        if (in_arena)
          measure(
              world, [&](std::size_t count) { return world.allocate<float>(count); }, found);
        else
          measure(world, own_memory, found);
      },
      {.copying = how});
  return *found;
}

struct series {
  const char* name;
  std::vector<times> rounds;
  std::vector<double> of(std::size_t size) const {
    std::vector<double> all;
    for (const times& each : rounds) all.push_back(each[size]);
    return all;
  }
};

std::string in_words(std::size_t bytes) {
  return bytes < 1024      ? std::to_string(bytes) + " B"
         : bytes < 1 << 20 ? std::to_string(bytes >> 10) + " KiB"
                           : std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::max(1, std::atoi(arguments[1])) : 15;
  const int ranks = count > 2 ? std::max(1, std::atoi(arguments[2])) : 2;
  const used_time before = used();
  std::array<series, 4> all{
      {{"threads", {}}, {"arena", {}}, {"one copy", {}}, {"through the region", {}}}};
  for (int round = 0; round < rounds; ++round) {
    all[0].rounds.push_back(by_threads(ranks));
    all[1].rounds.push_back(by_processes(ranks, true, copying::automatic));
    all[2].rounds.push_back(by_processes(ranks, false, copying::once));
    all[3].rounds.push_back(by_processes(ranks, false, copying::through_region));
  }
  std::puts(
      "# Processes beside threads\n\n"
      "Written by `bench_processes`, of [bench/processes.cpp](../../bench/processes.cpp): no "
      "figure "
      "here is typed by hand.\n");
  print_machine(rounds);
  std::printf(
      "`all_reduce<direct>` of float32 in place, %d ranks, checks on. Times are microseconds of a "
      "call, medians over rounds; ratios are processes / threads of the same round, medians with "
      "their quartiles. Arena: operands from `allocate`. One copy: operands in each process's own "
      "memory, copied from process to process. Through the region: the same where the system "
      "forbids that. Up to %zu bytes messages go through slots, wherever they lie.\n\n"
      "| bytes | threads | arena | ratio | one copy | ratio | through the region | ratio |\n"
      "|--:|--:|--:|--:|--:|--:|--:|--:|\n",
      ranks, std::size_t{1024});
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::printf("| %s | %.2f |", in_words(sizes[i]).c_str(), quantile(all[0].of(i), 0.5) * 1e6);
    for (std::size_t by = 1; by < all.size(); ++by) {
      std::printf(" %.2f |", quantile(all[by].of(i), 0.5) * 1e6);
      print_ratio(ratios(all[by].of(i), all[0].of(i)));
    }
    std::puts("");
  }
  print_others(before);
}
