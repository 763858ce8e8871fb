#pragma once

#include <fstream>
#include <string>
#include <thread>

namespace fashion_mnist {

// Where figures were taken: without it a time says little.
struct machine {
  std::string processor = "unknown";
  unsigned cores = std::thread::hardware_concurrency();
#if defined(__clang__)
  std::string compiler = "clang " __clang_version__;
#else
  std::string compiler = "g++ " __VERSION__;
#endif

  machine() {
    std::ifstream file{"/proc/cpuinfo"};
    for (std::string line; std::getline(file, line);)
      if (line.starts_with("model name")) {
        processor = line.substr(line.find(':') + 2);
        break;
      }
  }
};

}  // namespace fashion_mnist
