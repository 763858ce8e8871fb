// A line that says how far it is, for somebody who waits.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>

namespace bench {

/// Draws on stderr, where that is a terminal or `always`; and not before it takes long.
class progress_line {
 public:
  progress_line(std::size_t rows, bool always)
      : rows_{rows}, always_{always}, terminal_{isatty(STDERR_FILENO) == 1} {}

  /// Takes the line away, so that something else can be printed.
  void clear() {
    if (drawn_ && terminal_) std::fputs("\r\033[K", stderr);
    drawn_ = false;
  }
  /// One more row is done.
  void advance() {
    ++done_;
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin_;
    if ((!always_ && !terminal_) || done_ == rows_) return;
    if (!always_ && spent.count() < 2) return;
    std::fprintf(stderr, "%s%zu of %zu rows, %.0f s", terminal_ ? "\r" : "", done_, rows_,
                 spent.count());
    std::fputs(terminal_ ? "" : "\n", stderr);
    std::fflush(stderr);
    drawn_ = true;
  }

 private:
  std::size_t rows_, done_ = 0;
  bool always_, terminal_, drawn_ = false;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace bench
