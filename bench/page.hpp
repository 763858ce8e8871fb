// What the benchmarks' pages in Markdown have in common: on what they were measured, medians, and
// how much else the machine was doing.
#pragma once

#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "collectives/machine.hpp"

namespace bench {

/// `part` 0.5 is the median.
inline double quantile(std::vector<double> all, double part) {
  const auto place = static_cast<long>(part * static_cast<double>(all.size() - 1) + 0.5);
  std::nth_element(all.begin(), all.begin() + place, all.end());
  return all[static_cast<std::size_t>(place)];
}

inline std::vector<double> ratios(const std::vector<double>& above,
                                  const std::vector<double>& below) {
  std::vector<double> all;
  for (std::size_t i = 0; i < above.size(); ++i) all.push_back(above[i] / below[i]);
  return all;
}

inline std::string first_line(const std::string& path) {
  std::ifstream file{path};
  std::string line;
  std::getline(file, line);
  return line;
}

/// Seconds of all cores together since the machine was started, and of this process with
/// those that it has waited for.
struct used_time {
  double by_all = 0, idle = 0, by_this = 0;
};

inline used_time used() {
  used_time now;
  std::ifstream file{"/proc/stat"};
  std::string name;
  double ticks = 0;
  file >> name;
  for (int column = 0; column < 8 && file >> ticks; ++column) {
    now.by_all += ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
    if (column == 3 || column == 4) now.idle += ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  rusage ended{};
  getrusage(RUSAGE_CHILDREN, &ended);
  const auto seconds = [](const timeval& it) {
    return static_cast<double>(it.tv_sec) + static_cast<double>(it.tv_usec) / 1e6;
  };
  now.by_this = static_cast<double>(std::clock()) / CLOCKS_PER_SEC + seconds(ended.ru_utime) +
                seconds(ended.ru_stime);
  return now;
}

inline void print_others(const used_time& before) {
  const used_time now = used();
  const double all = now.by_all - before.by_all;
  const double busy = all - (now.idle - before.idle), own = now.by_this - before.by_this;
  std::printf("\nMeanwhile other processes used %.1f %% of the cores' time.\n",
              100 * std::max(0.0, busy - own) / std::max(all, 1e-9));
}

inline void print_machine(int rounds) {
  const machine here;
  std::string caches;
  for (int i = 0; i < 8; ++i) {
    const std::string at = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    const std::string level = first_line(at + "level"), type = first_line(at + "type");
    if (level.empty() || type == "Instruction") continue;
    caches += (caches.empty() ? "L" : ", L") + level + " " + first_line(at + "size");
  }
  utsname system{};
  uname(&system);
  std::printf("| | |\n|---|---|\n| CPU | %s |\n| cores | %d |\n| caches of a core | %s |\n",
              here.processor.c_str(), here.cores, caches.c_str());
  std::printf("| kernel | %s %s |\n| compiler | %s |\n", system.sysname, system.release,
              here.compiler.c_str());
  std::printf("| rounds | %d |\n\n", rounds);
}

inline void print_ratio(const std::vector<double>& all) {
  std::printf(" %.2f (%.2f to %.2f) |", quantile(all, 0.5), quantile(all, 0.25),
              quantile(all, 0.75));
}

}  // namespace bench
