// Whether a thread that reduces gradients during the backward pass pays on this machine.
//
// Backward passes with overlap::none and overlap::by_thread take turns in one run, of one model in
// the same memory, so that all see the same machine; what counts is the ratio. So do passes in
// which the ranks themselves reduce each gradient once it is there, with no thread. A backward pass
// writes each gradient and computes beside that, in the first-level cache, an amount that is fixed
// before: so that it takes about as long as wanted when nothing else needs its core. Prints a page
// in Markdown. Argument: rounds.
#include <algorithm>
#include <allfold/allfold.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "page.hpp"

namespace {

using namespace bench;
using steady_clock = std::chrono::steady_clock;

constexpr std::size_t layers = 8;  // a bucket each

/// Eight gradients side by side, and a backward pass that takes as long as it is told.
struct layered {
  std::vector<float> values, slopes;
  std::size_t work = 0;  // of a layer, in turns of `compute`

  explicit layered(std::size_t bytes) : values(bytes / sizeof(float)), slopes(values.size()) {}
  static std::vector<std::span<float>> by_layer(std::vector<float>& all) {
    const std::size_t size = all.size() / layers;
    std::vector<std::span<float>> parts;
    for (std::size_t i = 0; i < layers; ++i)
      parts.push_back(std::span{all}.subspan(i * size, size));
    return parts;
  }
  std::vector<std::span<float>> parameters() { return by_layer(values); }
  std::vector<std::span<float>> gradients() { return by_layer(slopes); }

  template <class Ready>
  void backward(Ready&& ready) {
    const auto all = gradients();
    for (std::size_t i = layers; i-- > 0;) {
      const float value = compute(work);
      std::fill(all[i].begin(), all[i].end(), value);
      ready(i);
    }
  }
  /// About a microsecond of arithmetic a turn.
  static float compute(std::size_t turns) {
    std::array<float, 1024> block{};
    for (std::size_t turn = 0; turn < turns; ++turn)
      for (float& each : block) each = each * 0.5f + static_cast<float>(turn % 2);
    float total = 0;
    for (const float each : block) total += each;
    return total;
  }
};

/// What one way of reducing took: each number is the mean of a few steps, over all ranks.
struct series {
  std::vector<double> step, exposed;  // seconds
};

struct question {
  int ranks = 2;
  bool bound = false;  // rank r to core r
  std::size_t bytes = 0;
  double factor = 1;  // backward pass / communication, wanted
};

struct answer {
  question asked;
  series none, by_thread, by_ranks;
};

double seconds(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1e9; }

/// Runs some backward passes. Returns a step's time and what of it is exposed communication.
template <class Replica>
std::array<double, 2> run(auto& world, Replica& replica, int steps) {
  allfold::barrier(world);
  std::array<double, 2> taken{};
  const auto begin = steady_clock::now();
  for (int i = 0; i < steps; ++i) {
    replica.backward([&](auto&& ready) { replica.model().backward(ready); });
    taken[1] += seconds(replica.times().exposed) / steps;
  }
  taken[0] = seconds(steady_clock::now() - begin) / steps;
  allfold::all_reduce(world, taken, allfold::average{});
  return taken;
}

/// The same without a replica: each rank reduces a gradient itself, and then computes the next one.
std::array<double, 2> run_by_ranks(auto& world, layered& model, int steps) {
  allfold::barrier(world);
  std::array<double, 2> taken{};
  const auto slopes = model.gradients();
  const auto begin = steady_clock::now();
  for (int i = 0; i < steps; ++i)
    model.backward([&](std::size_t layer) {
      const auto complete = steady_clock::now();
      allfold::all_reduce(world, slopes[layer], allfold::average{});
      taken[1] += seconds(steady_clock::now() - complete) / steps;
    });
  taken[0] = seconds(steady_clock::now() - begin) / steps;
  allfold::all_reduce(world, taken, allfold::average{});
  return taken;
}

/// Chooses the model's work so that its backward pass takes `factor` times the communication.
/// Returns how long a step then takes without overlap.
template <class Replica>
double calibrate(auto& world, Replica& replica, double factor) {
  std::vector<double> backward, communication, turn;
  for (int i = 0; i < 12; ++i) {
    const std::array<double, 2> it = run(world, replica, 1);
    backward.push_back(it[0] - it[1]);
    communication.push_back(it[1]);
    std::array<double, 1> each{};
    const auto begin = steady_clock::now();
    volatile float sink = layered::compute(1000);
    static_cast<void>(sink);
    each[0] = seconds(steady_clock::now() - begin) / 1000;
    allfold::all_reduce(world, each, allfold::average{});
    turn.push_back(each[0]);
  }
  const double wanted = factor * quantile(communication, 0);
  const double missing = std::max(0.0, wanted - quantile(backward, 0));
  replica.model().work = static_cast<std::size_t>(missing / quantile(turn, 0) / layers);
  return run(world, replica, 3)[0];
}

/// What every rank does; all come to the same answer.
template <std::size_t Bytes>
answer ask(auto& world, const question& asked, int rounds) {
  using strategy =
      allfold::distributed<allfold::automatic, allfold::buckets<Bytes / layers, Bytes / layers>>;
  using replica_type = allfold::data_parallel<layered, strategy>;
  layered model{Bytes};
  replica_type none{model, world, {.overlap = allfold::overlap::none}};
  replica_type by_thread{model, world, {.overlap = allfold::overlap::by_thread}};
  const double step = calibrate(world, none, asked.factor);
  const int steps = std::clamp(static_cast<int>(0.02 / step), 1, 100);
  answer found{asked, {}, {}, {}};
  const auto note = [](series& all, const std::array<double, 2>& taken) {
    all.step.push_back(taken[0]);
    all.exposed.push_back(taken[1]);
  };
  run(world, by_thread, steps);
  for (int round = 0; round < rounds; ++round) {
    if (round % 2 == 0) note(found.none, run(world, none, steps));
    note(found.by_thread, run(world, by_thread, steps));
    note(found.by_ranks, run_by_ranks(world, model, steps));
    if (round % 2 == 1) note(found.none, run(world, none, steps));
  }
  return found;
}

answer ask(const question& asked, int rounds) {
  answer found;
  allfold::spawn(asked.ranks,
                 [&](auto& world) {
                   const answer mine = asked.bytes == 1u << 20 ? ask<1u << 20>(world, asked, rounds)
                                       : asked.bytes == 16u << 20
                                           ? ask<16u << 20>(world, asked, rounds)
                                           : ask<64u << 20>(world, asked, rounds);
                   if (world.rank() == 0) found = mine;
                 },
                 {.pin = asked.bound});
  return found;
}

void print(const answer& it) {
  const double exposed = quantile(it.none.exposed, 0.5), step = quantile(it.none.step, 0.5);
  std::printf("| %d%s | %zu MiB | %.0f | %.1f | %.2f | %.2f |", it.asked.ranks,
              it.asked.bound ? ", bound" : "", it.asked.bytes >> 20, it.asked.factor,
              (step - exposed) / exposed, step * 1e3, quantile(it.by_thread.step, 0.5) * 1e3);
  print_ratio(ratios(it.by_thread.step, it.none.step));
  print_ratio(ratios(it.by_ranks.step, it.none.step));
  std::printf(" %.2f | %.2f |", exposed * 1e3, quantile(it.by_thread.exposed, 0.5) * 1e3);
  print_ratio(ratios(it.by_thread.exposed, it.none.exposed));
  print_ratio(ratios(it.by_ranks.exposed, it.none.exposed));
  std::puts("");
  std::fflush(stdout);
}

/// The cases of one number of ranks, bound or not.
void compare(int ranks, bool bound, int rounds) {
  int shorter = 0, longer = 0, cases = 0;
  for (const std::size_t bytes : {1u << 20, 16u << 20, 64u << 20})
    for (const double factor : {1.0, 4.0, 16.0}) {
      const answer found = ask({ranks, bound, bytes, factor}, rounds);
      const auto all = ratios(found.by_thread.step, found.none.step);
      shorter += quantile(all, 0.75) < 1;
      longer += quantile(all, 0.25) > 1;
      ++cases;
      print(found);
    }
  std::printf(
      "| **%d%s** | | | | | | with the thread **shorter in %d of %d** cases, longer in %d "
      "| | | | | |\n",
      ranks, bound ? ", bound" : "", shorter, cases, longer);
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::max(3, std::atoi(arguments[1])) : 21;
  const int cores = allfold::usable_cores();
  const used_time before = used();
  std::puts(
      "# Overlap on one host\n\n"
      "Written by `bench_overlap`, of [bench/overlap.cpp](../../bench/overlap.cpp): no figure here "
      "is typed by hand.\n");
  print_machine(rounds);
  std::puts(
      "A step is a backward pass of eight layers and the reduction of its gradients by "
      "`distributed<>`, in eight buckets: with `overlap::none` after the pass, with "
      "`overlap::by_thread` during it. By ranks: each rank itself reduces a gradient as soon as it "
      "is there, and then goes on with the pass. \"Exposed\" is the communication that a step "
      "waits for. Times are milliseconds, medians over rounds of the mean of all ranks; ratios are "
      "to `overlap::none`, medians over rounds with their quartiles. A case is shorter if the "
      "upper quartile of its steps' ratio is below 1, and longer if the lower one is above 1. "
      "Bound: rank r, with its thread, to core r.\n\n"
      "| ranks | gradients | backward / communication | measured | step | with thread | ratio "
      "| by ranks, ratio | exposed | with thread | ratio | by ranks, ratio |\n"
      "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
  std::vector<int> sizes{2};
  if (cores >= 6) sizes.push_back(cores / 2);
  for (const int ranks : sizes)
    for (const bool bound : {false, true}) compare(ranks, bound, rounds);
  print_others(before);
}
