// Measures the collectives and checks them, and prints what came out as nccl-tests does.
#include <algorithm>
#include <cstdio>
#include <exception>

#include "communicators.hpp"
#include "json.hpp"
#include "plot.hpp"
#include "progress.hpp"
#include "table.hpp"

namespace {

using namespace bench;

struct table {
  allfold::collective what;
  std::string algorithm;
  std::vector<series> all;
};

std::vector<table> tables_of(const settings& chosen) {
  std::vector<table> tables;
  for (const allfold::collective what : chosen.collectives)
    for (const std::string& algorithm : chosen.algorithms_of(what))
      tables.push_back({what, algorithm, chosen.series_of(what, algorithm)});
  return tables;
}

std::size_t rows_of(const settings& chosen, const std::vector<table>& tables) {
  std::size_t rows = 0;
  for (const table& each : tables)
    rows += each.all.size() * chosen.cycles *
            (each.what == allfold::collective::barrier ? 1 : chosen.sizes().size());
  return rows;
}

/// Measures and prints everything. True if nothing was wrong.
bool run(const settings& chosen) {
  const machine here;
  const communicator_kind& ranks = communicator_named(chosen.communicator);
  const std::vector<table> tables = tables_of(chosen);
  progress_line progress{rows_of(chosen, tables), chosen.progress};
  std::vector<row> rows;
  for (const table& each : tables) {
    const std::size_t before = rows.size();
    print_head(stdout, chosen, here, each.what, each.algorithm);
    ranks.run(chosen, each.all, [&](const row& measured) {
      rows.push_back(measured);
      progress.clear();
      print_row(stdout, chosen, measured);
      progress.advance();
    });
    progress.clear();
    print_foot(stdout, std::span{rows}.subspan(before));
    if (&each != &tables.back()) std::puts("");
  }
  if (!chosen.json.empty()) write_json(chosen, here, rows);
  if (!chosen.plot.empty()) write_plot(chosen, here, rows);
  return std::none_of(rows.begin(), rows.end(), [](const row& it) { return wrong_in(it) > 0; });
}

}  // namespace

int main(int count, char** words) {
  try {
    return run(bench::settings_of(count, words)) ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_collectives: %s\n", error.what());
    return 2;
  }
}
