#include "settings.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <allfold/communicator/cores.hpp>
#include <allfold/config.hpp>
#include <charconv>
#include <sstream>
#include <stdexcept>

#include "algorithms.hpp"
#include "communicators.hpp"

namespace bench {
namespace {

constexpr int most_ranks = 256;  // sums of so many exact values are exact in every type

/// What the user wrote, before it is understood.
struct words {
  std::string collective = "all_reduce", types = "float", operations = "sum", root = "0";
  std::string first, last, step;
  std::size_t factor = 0, calls = 0, batches = 0;
  int combination = 1;
  bool pin = false, no_pin = false;
};

/// The numbers of the names in a comma-separated list; `all` is every one.
std::vector<std::size_t> chosen_of(const std::string& text, const char* what,
                                   const std::vector<std::string>& names) {
  std::vector<std::size_t> chosen;
  std::istringstream list{text};
  for (std::string word; std::getline(list, word, ',');) {
    const auto found = std::find(names.begin(), names.end(), word);
    if (word == "all")
      for (std::size_t i = 0; i < names.size(); ++i) chosen.push_back(i);
    else if (found != names.end())
      chosen.push_back(static_cast<std::size_t>(found - names.begin()));
    else
      throw std::invalid_argument{"there is no " + std::string{what} + " '" + word +
                                  "'; there is: " + CLI::detail::join(names, ", ") + ", all"};
  }
  if (chosen.empty()) throw std::invalid_argument{"no " + std::string{what} + " is named"};
  return chosen;
}

std::vector<std::string> collective_names() {
  std::vector<std::string> names;
  for (int i = 0; i < collectives; ++i)
    names.emplace_back(allfold::name_of(static_cast<allfold::collective>(i)));
  return names;
}

void declare_sizes(CLI::App& app, words& given) {
  const auto group = "Sizes: a number of bytes, or of K, M, G (1024, ...)";
  app.add_option("-b,--minbytes", given.first, "the smallest [8]")->group(group);
  app.add_option("-e,--maxbytes", given.last, "the largest [64M]")->group(group);
  auto* const step =
      app.add_option("-i,--stepbytes", given.step, "from one to the next: so much")->group(group);
  app.add_option("-f,--stepfactor", given.factor, "from one to the next: so many times [2]")
      ->group(group)
      ->excludes(step)
      ->check(CLI::Range(2, 1 << 20));
}

void declare_work(CLI::App& app, words& given, settings& chosen) {
  const auto group = "What is measured; lists by commas, or all";
  app.add_option("--collective,collective", given.collective,
                 CLI::detail::join(collective_names(), " ") + " [all_reduce]")
      ->group(group);
  app.add_option("--algorithm", chosen.algorithm,
                 "automatic direct ring tree ..., as far as the collective has it [automatic]")
      ->group(group);
  app.add_option("-o,--op", given.operations, "sum prod min max avg [sum]")->group(group);
  app.add_option("-d,--datatype", given.types,
                 "int8 uint8 int32 uint32 int64 uint64 half float double bfloat16 [float]")
      ->group(group);
  app.add_option("-r,--root", given.root, "a rank, or all [0]")->group(group);
}

void declare_ranks(CLI::App& app, words& given, settings& chosen) {
  const auto group = "Ranks";
  app.add_option("-t,--ranks,--nthreads", chosen.ranks,
                 "how many [the cores, from 2 to 8: " + std::to_string(chosen.ranks) + "]")
      ->group(group)
      ->check(CLI::Range(1, most_ranks));
  app.add_option("--communicator", chosen.communicator, "what they are [threads]")->group(group);
  auto* const pin = app.add_flag("--pin", given.pin, "bind each to a core [if there are as many]");
  pin->group(group);
  app.add_flag("--no-pin", given.no_pin, "leave them to the scheduler")
      ->group(group)
      ->excludes(pin);
  app.add_option("-T,--timeout", chosen.timeout, "the longest wait in a collective, seconds [600]")
      ->group(group)
      ->check(CLI::PositiveNumber);
}

void declare_measuring(CLI::App& app, words& given, settings& chosen) {
  const auto group = "How";
  app.add_option("-n,--iters", given.calls, "calls timed [0: about 10 ms of them, 5 or more]")
      ->group(group);
  app.add_option("-w,--warmup_iters", chosen.warmup, "calls before [5]")->group(group);
  app.add_option("-c,--check", chosen.checks, "checks of each row; 0: none [1]")->group(group);
  app.add_option("-a,--average", given.combination,
                 "a time is rank 0's (0), the ranks' mean (1), minimum (2), maximum (3) [1]")
      ->group(group)
      ->check(CLI::Range(0, 3));
  app.add_option("-N,--run_cycles", chosen.cycles, "how often each table is run through [1]")
      ->group(group)
      ->check(CLI::PositiveNumber);
  app.add_option("-u,--unalign", chosen.unalign,
                 "elements between a cache line and the buffers [0]")
      ->group(group);
  app.add_option("--batches", given.batches, "times taken of each row [1; 100 with --statistics]")
      ->group(group);
}

void declare_output(CLI::App& app, settings& chosen) {
  const auto group = "Output";
  app.add_flag("--statistics", chosen.statistics,
               "also the batches' minimum, median and 99th percentile")
      ->group(group);
  app.add_option("-J,--json", chosen.json, "write everything into this file")->group(group);
  app.add_option("--plot", chosen.plot, "draw a picture (PNG) into this file, by gnuplot")
      ->group(group);
  app.add_flag("--progress", chosen.progress, "say on stderr how far it is, terminal or not")
      ->group(group);
}

void understand_sizes(const words& given, settings& chosen) {
  if (!given.first.empty()) chosen.first_bytes = bytes_of(given.first);
  if (!given.step.empty()) chosen.step_bytes = bytes_of(given.step);
  chosen.last_bytes =
      given.last.empty() ? std::max(chosen.last_bytes, chosen.first_bytes) : bytes_of(given.last);
  if (given.first.empty()) chosen.first_bytes = std::min(chosen.first_bytes, chosen.last_bytes);
  chosen.step_factor = !given.step.empty() ? 0 : given.factor > 0 ? given.factor : 2;
  if (chosen.first_bytes > chosen.last_bytes)
    throw std::invalid_argument{"--minbytes is more than --maxbytes"};
  if (chosen.step_factor == 0 && chosen.step_bytes == 0)
    throw std::invalid_argument{"--stepbytes must be more than 0"};
  if (chosen.first_bytes == 0 && chosen.step_factor > 0 && chosen.last_bytes > 0)
    throw std::invalid_argument{"from 0 bytes no factor leads on: take --stepbytes"};
}

void understand_roots(const words& given, settings& chosen) {
  std::vector<std::string> names;
  for (int rank = 0; rank < chosen.ranks; ++rank) names.push_back(std::to_string(rank));
  for (const std::size_t rank : chosen_of(given.root, "rank", names))
    chosen.roots.push_back(static_cast<int>(rank));
}

void understand(const words& given, settings& chosen) {
  for (const std::size_t i : chosen_of(given.collective, "collective", collective_names()))
    chosen.collectives.push_back(static_cast<allfold::collective>(i));
  for (const std::size_t i :
       chosen_of(given.types, "datatype", {datatype_names.begin(), datatype_names.end()}))
    chosen.types.push_back(static_cast<datatype>(i));
  for (const std::size_t i :
       chosen_of(given.operations, "operation", {redop_names.begin(), redop_names.end()}))
    chosen.operations.push_back(static_cast<redop>(i));
  understand_sizes(given, chosen);
  understand_roots(given, chosen);
  chosen.over_ranks = static_cast<combination>(given.combination);
  chosen.calls = given.calls;
  chosen.pin = given.pin || (!given.no_pin && chosen.ranks <= allfold::usable_cores());
  if (chosen.statistics) {  // shorter batches, but many
    chosen.batches = 100;
    chosen.batch_seconds = 100e-6;
    chosen.least_calls = 1;
  }
  if (given.batches > 0) chosen.batches = given.batches;
  communicator_named(chosen.communicator);
  bool any = false;
  for (const allfold::collective each : chosen.collectives)
    any = !chosen.algorithms_of(each).empty() || any;
  if (!any)
    throw std::invalid_argument{"none of these collectives has the algorithm '" + chosen.algorithm +
                                "'"};
}

}  // namespace

std::size_t bytes_of(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit{end, text.data() + text.size()};
  const int power = unit.empty()                 ? 0
                    : unit == "K" || unit == "k" ? 10
                    : unit == "M" || unit == "m" ? 20
                    : unit == "G" || unit == "g" ? 30
                                                 : -1;
  if (error != std::errc{} || power < 0 || number < 0 || number > 1e15)
    throw std::invalid_argument{"'" + text + "' is no number of bytes, such as 8, 64K or 1.5M"};
  return static_cast<std::size_t>(number * static_cast<double>(std::size_t{1} << power));
}

std::vector<std::size_t> settings::sizes() const {
  std::vector<std::size_t> all;
  for (std::size_t bytes = first_bytes; bytes <= last_bytes;
       bytes = step_factor > 0 ? bytes * step_factor : bytes + step_bytes) {
    all.push_back(bytes);
    if (step_factor > 0 && bytes > last_bytes / step_factor) break;
  }
  return all;
}

std::vector<std::string> settings::algorithms_of(allfold::collective what) const {
  const std::vector<std::string_view> all = bench::algorithms_of(what);
  const std::vector<std::string> names{all.begin(), all.end()};
  if (collectives.size() == 1) {  // what it does not have is an error
    std::vector<std::string> chosen;
    for (const std::size_t i : chosen_of(
             algorithm, ("algorithm for " + std::string{allfold::name_of(what)}).c_str(), names))
      chosen.push_back(names[i]);
    return chosen;
  }
  std::vector<std::string> chosen;
  std::istringstream list{algorithm};
  for (std::string word; std::getline(list, word, ',');)
    for (const std::string& name : names)
      if (word == "all" || word == name) chosen.push_back(name);
  return chosen;
}

std::vector<series> settings::series_of(allfold::collective what,
                                        const std::string& algorithm_name) const {
  series one{what, algorithm_name, types.front(), operations.front(), 0, ranks};
  std::vector<series> all;
  for (const datatype type : types) {
    one.type = type;
    for (const redop operation : operations) {
      one.operation = operation;
      for (const int root : roots) {
        one.root = root;
        all.push_back(one);
        if (!has_root(what)) break;
      }
      if (!one.folds()) break;
    }
    if (!one.has_elements()) break;
  }
  return all;
}

settings settings_of(int count, char** given_words) {
  settings chosen;
  chosen.ranks = std::clamp(allfold::usable_cores(), 2, 8);
  words given;
  CLI::App app{"Measures and checks the collectives, in the manner of nccl-tests."};
  declare_work(app, given, chosen);
  declare_sizes(app, given);
  declare_ranks(app, given, chosen);
  declare_measuring(app, given, chosen);
  declare_output(app, chosen);
  app.get_formatter()->column_width(32);
  for (CLI::Option* const each : app.get_options()) each->option_text(" ");
  app.footer(
      "For example: bench/run all_reduce,broadcast --algorithm all -b 1K -e 16M --plot it.png");
  try {
    app.parse(count, given_words);
    understand(given, chosen);
  } catch (const CLI::ParseError& end) {
    std::exit(app.exit(end) == 0 ? 0 : 2);
  }
  return chosen;
}

}  // namespace bench
