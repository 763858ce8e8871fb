#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>

#include <unistd.h>

namespace fashion_mnist {

// One line of output that fills up, drawn only where somebody looks: on a terminal.
class progress_bar {
 public:
  explicit progress_bar(std::size_t total) : total{total} {}

  void advance(float loss) {
    done = std::min(done + 1, total);
    const auto now = std::chrono::steady_clock::now();
    if (!terminal || now - drawn < std::chrono::milliseconds{100}) return;
    drawn = now;
    const std::size_t width = 40, filled = width * done / total;
    std::printf("\r  [%s%s] %3zu %%  loss %.3f ", std::string(filled, '#').c_str(),
                std::string(width - filled, '.').c_str(), 100 * done / total, loss);
    std::fflush(stdout);
  }

  void clear() const {
    if (terminal) std::fputs("\r\033[K", stdout);
  }

 private:
  std::size_t done = 0, total;
  bool terminal = isatty(STDOUT_FILENO) == 1;
  std::chrono::steady_clock::time_point drawn{};
};

}  // namespace fashion_mnist
