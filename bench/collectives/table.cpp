#include "table.hpp"

#include <unistd.h>

#include <allfold/config.hpp>
#include <string>

namespace bench {
namespace {

// The columns' widths, and what separates them, are those of nccl-tests.
void print_names(std::FILE* to, bool statistics, const char* time, const char* bandwidth_a,
                 const char* bandwidth_b, const char* wrong, const char* a, const char* b,
                 const char* c) {
  for (int half = 0; half < 2; ++half) {
    std::fprintf(to, "  %7s  %6s  %6s  %6s", time, bandwidth_a, bandwidth_b, wrong);
    if (statistics) std::fprintf(to, "  %7s  %7s  %7s", a, b, c);
  }
  std::fputc('\n', to);
}

void print_half(std::FILE* to, bool statistics, const row& it, const half_row& half) {
  const double time = half.time.mean;
  std::fprintf(to, "  %7s  %6s  %6s", fitted(time, 7, 2).c_str(),
               fitted(algorithm_bandwidth(it, time), 6, 2).c_str(),
               fitted(bus_bandwidth(it, time), 6, 2).c_str());
  if (half.wrong)
    std::fprintf(to, "  %6g", static_cast<double>(*half.wrong));
  else
    std::fprintf(to, "     N/A");
  if (statistics)
    std::fprintf(to, "  %7s  %7s  %7s", fitted(half.time.minimum, 7, 3).c_str(),
                 fitted(half.time.median, 7, 3).c_str(), fitted(half.time.p99, 7, 3).c_str());
}

std::string centred(const std::string& text, int width) {
  const int right = (width - static_cast<int>(text.size())) / 2;
  return std::string(static_cast<std::size_t>(width - right) - text.size(), ' ') + text +
         std::string(static_cast<std::size_t>(right), ' ');
}

}  // namespace

std::string fitted(double value, int width, int most) {
  char text[64];
  for (int digits = most; digits >= 0; --digits) {
    const int length = std::snprintf(text, sizeof text, "%*.*f", width, digits, value);
    if (length <= width) return text;
  }
  std::snprintf(text, sizeof text, "%*.*e", width, width >= 7 ? 1 : 0, value);
  return text;
}

void print_head(std::FILE* to, const settings& chosen, const machine& here,
                allfold::collective what, const std::string& algorithm) {
  const std::string name{allfold::name_of(what)};
  std::fprintf(to, "# allfold version %d.%d.%d\n# Collective test starting: %s\n",
               ALLFOLD_VERSION_MAJOR, ALLFOLD_VERSION_MINOR, ALLFOLD_VERSION_PATCH, name.c_str());
  std::fprintf(to,
               "# nThread %d nGpus 0 minBytes %zu maxBytes %zu step: %zu(%s) warmup iters: %zu "
               "iters: %zu agg iters: 1 validation: %zu graph: 0 unalign: %zu\n",
               chosen.ranks, chosen.first_bytes, chosen.last_bytes,
               chosen.step_factor > 0 ? chosen.step_factor : chosen.step_bytes,
               chosen.step_factor > 0 ? "factor" : "bytes", chosen.warmup, chosen.calls,
               chosen.checks, chosen.unalign);
  std::fprintf(to, "# algorithm %s, ranks as %s, %s\n#\n# Using devices\n", algorithm.c_str(),
               chosen.communicator.c_str(), here.compiler.c_str());
  for (int rank = 0; rank < chosen.ranks; ++rank)
    std::fprintf(to, "#  Rank %2d Group %2d Pid %6d on %10s device %2d [%s] %s\n", rank, 0,
                 static_cast<int>(getpid()), here.host.c_str(), rank % here.cores,
                 chosen.pin ? "pinned" : "any core", here.processor.c_str());
  const int width = chosen.statistics ? 60 : 33;
  std::fprintf(to, "#\n# %10s  %12s  %8s  %6s  %6s%s%s\n", "", "", "", "", "",
               centred("out-of-place", width).c_str(), centred("in-place", width).c_str());
  std::fprintf(to, "# %10s  %12s  %8s  %6s  %6s", "size", "count", "type", "redop", "root");
  print_names(to, chosen.statistics, "time", "algbw", "busbw", "#wrong", "min", "median", "p99");
  std::fprintf(to, "# %10s  %12s  %8s  %6s  %6s", "(B)", "(elements)", "", "", "");
  print_names(to, chosen.statistics, "(us)", "(GB/s)", "(GB/s)", "", "(us)", "(us)", "(us)");
  std::fflush(to);
}

void print_row(std::FILE* to, const settings& chosen, const row& it) {
  std::fprintf(to, "%12zu  %12zu  %8s  %6s  %6d", it.bytes, it.count,
               std::string{it.of.type_name()}.c_str(), std::string{it.of.operation_name()}.c_str(),
               it.of.shown_root());
  print_half(to, chosen.statistics, it, it.out_of_place);
  print_half(to, chosen.statistics, it, it.in_place);
  std::fputc('\n', to);
  std::fflush(to);
}

void print_foot(std::FILE* to, std::span<const row> rows) {
  std::size_t wrong = 0;
  for (const row& each : rows) wrong += wrong_in(each);
  std::fprintf(to, "# %-20s : %zu %s\n", "Out of bounds values", wrong,
               wrong > 0 ? "FAILED" : "OK");
  std::fprintf(to, "# %-20s : %g\n#\n", "Avg bus bandwidth", average_bus_bandwidth(rows));
  if (!rows.empty())
    std::fprintf(to, "# Collective test concluded: %s\n",
                 std::string{allfold::name_of(rows.front().of.what)}.c_str());
  std::fflush(to);
}

double average_bus_bandwidth(std::span<const row> rows) {
  double sum = 0;
  for (const row& each : rows)
    sum += bus_bandwidth(each, each.out_of_place.time.mean) +
           bus_bandwidth(each, each.in_place.time.mean);
  return rows.empty() ? 0.0 : sum / (2 * static_cast<double>(rows.size()));
}

}  // namespace bench
