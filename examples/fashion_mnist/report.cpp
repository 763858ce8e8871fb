#include "report.hpp"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>

namespace fashion_mnist {
namespace {

constexpr double mib = 1024.0 * 1024.0;

// "primary / others": a figure of rank 0, and of the other ranks where there are any.
std::string pair_of(const outcome& run, const char* format, double unit, auto&& figure) {
  char text[64];
  std::snprintf(text, sizeof text, format, static_cast<double>(figure(run.ranks[0])) / unit);
  std::string both = text;
  if (run.ranks.size() > 1) {
    std::snprintf(text, sizeof text, format, run.others(figure) / unit);
    both += std::string{" / "} + text;
  }
  return both;
}

const outcome* find(std::span<const outcome> outcomes, std::string_view name) {
  const auto at = std::ranges::find(outcomes, name, &outcome::name);
  return at == outcomes.end() ? nullptr : &*at;
}

bool compare_strategies(std::span<const outcome> outcomes) {
  const outcome *primary = find(outcomes, primary_name), *direct = find(outcomes, direct_name);
  if (!primary || !direct) return true;
  const bool same = primary->ranks[0].hash == direct->ranks[0].hash;
  std::printf("- %s and %s trained to %s.\n", primary_name, direct_name,
              same ? "the same bits" : "DIFFERENT BITS, which must not be");
  return same;
}

bool compare_ranks(std::span<const outcome> outcomes) {
  bool all = true;
  for (const outcome& run : outcomes)
    for (std::size_t r = 1; r < run.ranks.size(); ++r)
      if (run.ranks[r].hash != run.ranks[0].hash) {
        std::printf("- %s: RANK %zu HOLDS OTHER BITS than rank 0, which must not be.\n",
                    run.name.c_str(), r);
        all = false;
      }
  if (all) std::puts("- Within every strategy all ranks hold the same bits.");
  return all;
}

void compare_speed(std::span<const outcome> outcomes) {
  if (outcomes.size() < 2) return;
  const outcome& best = *std::ranges::min_element(outcomes, {}, &outcome::step_ms);
  std::printf("- Fastest step: %s with %.2f ms", best.name.c_str(), best.step_ms);
  for (const outcome& run : outcomes)
    if (&run != &best && (run.ranks.size() == 1 || run.name == primary_name))
      std::printf(", %.2f times as fast as %s", run.step_ms / best.step_ms, run.name.c_str());
  std::puts(".");
}

// What rank 0 reads, writes and keeps as a multiple of what another rank does; the largest of
// several strategies, as those that treat all ranks alike need no line each.
struct load {
  double read = 0, written = 0, kept = 0;

  void add(const outcome& run) {
    const auto ratio = [&](auto&& figure) {
      const double others = run.others(figure);
      return others > 0 ? static_cast<double>(figure(run.ranks[0])) / others : 1.0;
    };
    read = std::max(read, ratio([](auto& rank) { return rank.bytes_read; }));
    written = std::max(written, ratio([](auto& rank) { return rank.bytes_written; }));
    kept = std::max(kept, ratio([](auto& rank) { return rank.memory(); }));
  }
};

void compare_load(std::span<const outcome> outcomes) {
  load primary, others;
  std::string names;
  for (const outcome& run : outcomes) {
    if (run.ranks.size() == 1) continue;
    (run.name == primary_name ? primary : others).add(run);
    if (run.name != primary_name) names += (names.empty() ? "" : ", ") + run.name;
  }
  const auto print = [](const std::string& under, const load& most) {
    std::printf(
        "- Under %s rank 0 reads %.2f, writes %.2f and keeps %.2f times as much as another.\n",
        under.c_str(), most.read, most.written, most.kept);
  };
  if (primary.kept > 0) print(primary_name, primary);
  if (!names.empty()) print(names, others);
}

// False if a compressed run is further from direct than so many points.
bool compare_accuracy(std::span<const outcome> outcomes, double within) {
  bool all = true;
  for (const outcome& run : outcomes) {
    const auto points = points_above_direct(run, outcomes);
    if (!run.is_compressed() || !points) continue;
    std::printf("- %s ends %.2f points %s %s: %s.\n", run.name.c_str(), std::abs(*points),
                *points < 0 ? "below" : "above", direct_name,
                within_one_point(*points) ? "within 1 point" : "NOT WITHIN 1 POINT");
    all = all && std::abs(*points) <= within;
  }
  return all;
}

bool reach(std::span<const outcome> outcomes, double least) {
  bool all = true;
  for (const outcome& run : outcomes)
    if (run.accuracy() < least) {
      std::printf("- %s: TEST ACCURACY BELOW %.2f %%.\n", run.name.c_str(), 100 * least);
      all = false;
    }
  return all;
}

// What compressing has saved, and what it has cost.
void print_compressed(std::span<const outcome> outcomes) {
  if (std::ranges::none_of(outcomes, &outcome::is_compressed)) return;
  std::puts(
      "What a rank brings to collectives in a step, as a mean, and the accuracy it leads to.\n");
  std::printf("%-20s %10s %15s %13s %13s\n", "strategy", "sent", "of uncompressed", "test",
              "above direct");
  std::printf("%-20s %10s %15s %13s %13s\n", "", "KiB", "%", "accuracy", "points");
  for (const outcome& run : outcomes) {
    if (!run.is_compressed() && run.name != direct_name) continue;
    std::printf("%-20s %10.1f %15.2f %11.2f %%", run.name.c_str(), run.ranks[0].bytes_sent / 1024,
                100 * run.share_sent(), 100 * run.accuracy());
    if (const auto points = points_above_direct(run, outcomes)) std::printf(" %+13.2f", *points);
    std::puts("");
  }
  std::puts("");
}

}  // namespace

std::optional<double> points_above_direct(const outcome& run, std::span<const outcome> outcomes) {
  const outcome* direct = find(outcomes, direct_name);
  if (!direct) return std::nullopt;
  return 100 * (run.accuracy() - direct->accuracy());
}

void print_table(std::span<const outcome> outcomes) {
  std::puts(
      "\nFor each rank and step: rank 0 / mean of the others. Read and written: by the library.");
  std::puts("Memory: parameters, gradients, the optimizer's state, and what the library keeps.\n");
  std::printf("%-20s %7s %13s %13s %13s %13s %8s  %-16s\n", "strategy", "step", "communication",
              "read", "written", "memory", "test", "parameters");
  std::printf("%-20s %7s %13s %13s %13s %13s %8s  %-16s\n", "", "ms", "% of step", "MiB", "MiB",
              "MiB", "accuracy", "FNV-1a 64");
  for (const outcome& run : outcomes) {
    const auto share = pair_of(run, "%.1f", 1, [](const rank_figures& rank) {
      return 100 * rank.communication_ms / (rank.communication_ms + rank.computation_ms);
    });
    const auto read = pair_of(run, "%.2f", mib, [](auto& rank) { return rank.bytes_read; });
    const auto written = pair_of(run, "%.2f", mib, [](auto& rank) { return rank.bytes_written; });
    const auto memory = pair_of(run, "%.2f", mib, [](auto& rank) { return rank.memory(); });
    std::printf("%-20s %7.2f %13s %13s %13s %13s %6.2f %%  %016" PRIx64 "%s\n", run.name.c_str(),
                run.step_ms, share.c_str(), read.c_str(), written.c_str(), memory.c_str(),
                100 * run.accuracy(), run.ranks[0].hash, run.ranks_agree() ? "" : " RANKS DIFFER");
  }
  std::puts("");
  print_compressed(outcomes);
}

bool print_findings(std::span<const outcome> outcomes, const demands& asked) {
  const bool strategies = compare_strategies(outcomes);
  const bool ranks = compare_ranks(outcomes);
  compare_speed(outcomes);
  compare_load(outcomes);
  const bool compressed = compare_accuracy(outcomes, asked.within);
  return reach(outcomes, asked.at_least / 100) && compressed && strategies && ranks;
}

}  // namespace fashion_mnist
