// What the benchmark of GPU collectives found, as JSON and as Markdown.
#pragma once

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace gpu_bench {

/// The card and what drives it.
struct card {
  std::string name;
  int multiprocessors = 0;
  std::size_t memory_bytes = 0, l2_bytes = 0;
  int driver = 0, runtime = 0;  ///< as CUDA numbers them: 1000 · major + 10 · minor
  int nccl = 0;                 ///< as NCCL numbers it, or 0
};

/// One contender at one size on so many ranks, given call by call or in a graph.
struct row {
  std::string contender, mode;
  int ranks;
  std::size_t bytes;  ///< of one rank's elements
  std::size_t count;
  double us;     ///< of one call: the median of the rounds
  double least;  ///< µs, in the best round
  int rounds;
  long wrong;  ///< elements on all ranks, or −1 where nothing was checked

  double algbw() const { return static_cast<double>(bytes) / us / 1e3; }  ///< 10^9 bytes/s
  double busbw() const { return algbw() * 2 * (ranks - 1) / ranks; }
};

inline constexpr const char* label = "virtual busbw, HBM-bound";
inline constexpr const char* oracle_name = "oracle";
inline constexpr const char* eager = "eager";
inline constexpr const char* in_graph = "graph";

/// All that was measured.
class report {
 public:
  card on;
  std::vector<row> rows;
  std::vector<std::string> notes;  ///< what was skipped, and why

  /// As a multiple of the oracle's speed, of the same size, ranks and mode; 0 where it is missing.
  double to_oracle(const row& it) const {
    const row* oracle = find(oracle_name, it.mode, it.ranks, it.bytes);
    return oracle == nullptr ? 0.0 : oracle->us / it.us;
  }
  const row* find(const std::string& contender, const std::string& mode, int ranks,
                  std::size_t bytes) const {
    const auto at = std::find_if(rows.begin(), rows.end(), [&](const row& each) {
      return each.contender == contender && each.mode == mode && each.ranks == ranks &&
             each.bytes == bytes;
    });
    return at == rows.end() ? nullptr : &*at;
  }

  /// Writes gpu-<card>.json and gpu-<card>.md into a folder, and returns their paths.
  std::vector<std::filesystem::path> write(const std::filesystem::path& folder) const;

 private:
  nlohmann::ordered_json as_json() const;
  std::string as_markdown() const;
  std::string heading() const;
  std::string targets() const;
  std::string table(int ranks, const std::string& mode) const;
  std::string all_rows() const;
  std::vector<int> rank_counts() const {
    return distinct<int>([](const row& r) { return r.ranks; });
  }
  template <class T, class Value>
  std::vector<T> distinct(Value value) const {
    std::vector<T> all;
    for (const row& each : rows)
      if (std::find(all.begin(), all.end(), value(each)) == all.end()) all.push_back(value(each));
    return all;
  }
};

template <class... Values>
std::string formatted(const char* format, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

/// "8 B", "32 KiB", "1 GiB".
inline std::string size_name(std::size_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB"};
  std::size_t unit = 0;
  while (unit < 3 && bytes >= 1024 && bytes % 1024 == 0) {
    bytes /= 1024;
    ++unit;
  }
  return std::to_string(bytes) + " " + units[unit];
}
inline std::string version_name(int cuda) {
  return std::to_string(cuda / 1000) + "." + std::to_string(cuda % 1000 / 10);
}

// ---- a line of nccl-tests ----

inline std::string columns() {
  return formatted("%12s %12s %7s %6s %4s %10s %9s %9s %7s", "size(B)", "count", "type", "redop",
                   "root", "time(us)", "algbw", "busbw", "#wrong");
}
inline std::string in_columns(const row& it) {
  const std::string wrong = it.wrong < 0 ? "N/A" : std::to_string(it.wrong);
  return formatted("%12zu %12zu %7s %6s %4s %10.2f %9.2f %9.2f %7s", it.bytes, it.count, "float",
                   "sum", it.contender == "primary" ? "0" : "-1", it.us, it.algbw(), it.busbw(),
                   wrong.c_str());
}

// ---- files ----

inline nlohmann::ordered_json report::as_json() const {
  nlohmann::ordered_json all{{"label", label},
                             {"card", on.name},
                             {"multiprocessors", on.multiprocessors},
                             {"memory_bytes", on.memory_bytes},
                             {"l2_bytes", on.l2_bytes},
                             {"cuda_driver", version_name(on.driver)},
                             {"cuda_runtime", version_name(on.runtime)},
                             {"nccl", on.nccl},
                             {"notes", notes},
                             {"rows", nlohmann::ordered_json::array()}};
  for (const row& each : rows) {
    nlohmann::ordered_json one{{"contender", each.contender},
                               {"mode", each.mode},
                               {"ranks", each.ranks},
                               {"size_bytes", each.bytes},
                               {"count", each.count},
                               {"type", "float"},
                               {"redop", "sum"},
                               {"time_us", each.us},
                               {"time_us_least", each.least},
                               {"rounds", each.rounds},
                               {"algbw_gb_s", each.algbw()},
                               {"busbw_gb_s", each.busbw()},
                               {"speed_to_oracle", to_oracle(each)}};
    one["wrong"] = each.wrong < 0 ? nlohmann::ordered_json{} : nlohmann::ordered_json(each.wrong);
    all["rows"].push_back(std::move(one));
  }
  return all;
}

inline std::string report::heading() const {
  std::string text = "# Collectives of several ranks on one " + on.name + "\n\n";
  text +=
      "**" + std::string{label} +
      "**: all ranks share one GPU, so this is its memory's bandwidth. These figures are not to "
      "be compared with those of several GPUs.\n\n";
  text += std::to_string(on.multiprocessors) + " multiprocessors, " +
          formatted("%.0f GiB of memory, %.0f MiB of L2 cache",
                    static_cast<double>(on.memory_bytes) / 0x1p30,
                    static_cast<double>(on.l2_bytes) / 0x1p20) +
          "; CUDA " + version_name(on.runtime) + ", driver for " + version_name(on.driver) +
          ". all_reduce of float, sum, out of place. A size is that of one rank. Times are medians "
          "of rounds in which all contenders took turns.\n\n";
  text +=
      "- `oracle`: a kernel that no rank waits in; it reads all inputs, folds, and writes all "
      "outputs. Speeds are given as a share of its speed.\n"
      "- `copy`: as many bytes, only copied, by cudaMemcpyAsync.\n"
      "- `eager`: call by call, on the host's clock, many calls in flight. `graph`: the same "
      "calls in a CUDA graph, by the device's events.\n";
  double most = 0;
  for (const row& each : rows)
    if (each.contender == oracle_name) most = std::max(most, 2 * each.ranks * each.algbw());
  text += formatted("- The oracle reads and writes %.0f · 10^9 bytes/s at most.\n", most);
  for (const std::string& note : notes) text += "- " + note + "\n";
  return text + "\n";
}

/// What docs/ promises of a GPU, against what was measured.
inline std::string report::targets() const {
  std::string text = "| to be reached | at | measured | |\n|---|---|---|---|\n";
  const auto add = [&](const char* what, const row& at, const std::string& found, bool good) {
    text += std::string{"| "} + what + " | " + std::to_string(at.ranks) + " ranks, " +
            size_name(at.bytes) + ", " + at.mode + " | " + found + " | " +
            (good ? "yes" : "**no**") + " |\n";
  };
  for (const row& it : rows) {
    const auto traffic = 2 * static_cast<std::size_t>(it.ranks) * it.bytes;
    const double share = to_oracle(it);
    const std::string found = formatted("%.0f %%", 100 * share);
    if (it.mode == in_graph && share > 0 && traffic >= 8 * on.l2_bytes) {
      if (it.contender == "direct" || it.contender == "primary")
        add((it.contender + " >= 90 % of the oracle").c_str(), it, found, share >= 0.9);
      if ((it.contender == "ring" || it.contender == "tree") && it.ranks == 8)
        add((it.contender + " >= 60 % of the oracle").c_str(), it, found, share >= 0.6);
    }
    if (it.mode == in_graph && it.contender == "direct" && it.bytes <= 64 * 1024)
      add("direct <= 5 us", it, formatted("%.2f us", it.us), it.us <= 5);
  }
  return text;
}

/// Times of all contenders, a line for each size.
inline std::string report::table(int ranks, const std::string& mode) const {
  const auto names = distinct<std::string>([](const row& each) { return each.contender; });
  std::string text = "| size |", rule = "|---:|";
  for (const std::string& name : names) {
    text += " " + name + " |";
    rule += "---:|";
  }
  text += "\n" + rule + "\n";
  for (const std::size_t bytes : distinct<std::size_t>([](const row& r) { return r.bytes; })) {
    std::string line;
    bool any = false;
    for (const std::string& name : names) {
      const row* it = find(name, mode, ranks, bytes);
      any = any || it != nullptr;
      line += it == nullptr ? " |"
                            : formatted(it->us < 100 ? " %.2f" : " %.0f", it->us) +
                                  formatted(" (%.0f %%) |", 100 * to_oracle(*it));
    }
    if (any) text += "| " + size_name(bytes) + " |" + line + "\n";
  }
  return text;
}

inline std::string report::all_rows() const {
  std::string text = "```\n" + columns() + "   ranks mode  contender  of oracle\n";
  for (const row& each : rows)
    text += in_columns(each) +
            formatted("   %5d %-5s %-16s", each.ranks, each.mode.c_str(), each.contender.c_str()) +
            formatted(" %.2f\n", to_oracle(each));
  return text + "```\n";
}

inline std::string report::as_markdown() const {
  std::string text = heading() + "## What was to be reached\n\n" + targets();
  for (const int ranks : rank_counts())
    for (const char* mode : {in_graph, eager})
      text += "\n## " + std::to_string(ranks) + " ranks, " + mode +
              ": µs a call (share of the oracle's speed)\n\n" + table(ranks, mode);
  return text +
         "\n## All of it, in the columns of nccl-tests\n\nalgbw and busbw in 10^9 bytes/s; " +
         "busbw is algbw · 2 (n - 1) / n: " + label + ".\n\n" + all_rows();
}

inline std::vector<std::filesystem::path> report::write(const std::filesystem::path& folder) const {
  std::string name = "gpu-";
  for (const char each : on.name)
    name += std::isalnum(static_cast<unsigned char>(each)) != 0
                ? static_cast<char>(std::tolower(static_cast<unsigned char>(each)))
                : '-';
  std::filesystem::create_directories(folder);
  const auto put = [&](const char* extension, const std::string& text) {
    const std::filesystem::path path = folder / (name + extension);
    std::ofstream file{path};
    file << text;
    file.close();
    if (!file) throw std::runtime_error{"cannot write " + path.string()};
    return path;
  };
  return {put(".json", as_json().dump(2) + "\n"), put(".md", as_markdown())};
}

}  // namespace gpu_bench
