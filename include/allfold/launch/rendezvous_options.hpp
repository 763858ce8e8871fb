// What every way to meet may be told, and how it fails.
#pragma once

#include <allfold/error.hpp>
#include <chrono>
#include <cstdint>
#include <string>

namespace allfold {

/// How ranks meet, whichever way they do.
struct rendezvous_options {
  /// The longest wait for the other ranks to come, and in each exchange; afterwards a
  /// timeout_error that names those that have not.
  std::chrono::steady_clock::duration timeout = std::chrono::minutes{10};
  /// The same on all ranks, and another for any other start: ranks of different jobs do not meet.
  /// It is not shown in errors.
  std::string job = {};
};

namespace detail {

/// What ranks tell each other of when they can't go on.
enum class trouble : std::uint8_t { misuse, mismatch, timeout, lost };

[[noreturn]] inline void throw_trouble(trouble kind, const std::string& text) {
  switch (kind) {
    case trouble::mismatch:
      throw mismatch_error{text};
    case trouble::timeout:
      throw timeout_error{text};
    case trouble::lost:
      throw rank_lost_error{text};
    case trouble::misuse:
      break;
  }
  throw usage_error{text};
}

inline void require_rank(int rank, int size) {
  if (size >= 1 && rank >= 0 && rank < size) return;
  throw usage_error{"allfold: there is no rank " + std::to_string(rank) + " among " +
                    std::to_string(size) + " ranks that are to meet"};
}

}  // namespace detail
}  // namespace allfold
