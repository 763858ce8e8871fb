// The last calls of a rank, kept for messages and reports.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace allfold::host {

/// How many of a rank's last calls are kept.
inline constexpr std::uint64_t remembered = 32;

/// What a rank has said of its last calls, in `Words` numbers a call. Written by that rank alone;
/// anyone may read at any time, also while a call is being written. All bits zero: none.
///
/// A seqlock whose words are atomic themselves, so that no fence is needed: who reads a word of a
/// newer call sees the stamp that was taken away before (H.-J. Boehm, "Can seqlocks get along with
/// programming language memory models?", MSPC 2012).
template <std::size_t Words>
class kept_calls {
 public:
  using words = std::array<std::uint64_t, Words>;

  void keep(std::uint64_t number, const words& said) {
    entry& it = all_[number % remembered];
    it.stamp.store(0, std::memory_order_relaxed);
    for (std::size_t i = 0; i < Words; ++i) it.said[i].store(said[i], std::memory_order_release);
    it.stamp.store(number + 1, std::memory_order_release);
  }
  /// False if call `number` is not there: not yet, no more, or only in part.
  bool read(std::uint64_t number, words& said) const {
    const entry& it = all_[number % remembered];
    if (it.stamp.load(std::memory_order_acquire) != number + 1) return false;
    for (std::size_t i = 0; i < Words; ++i) said[i] = it.said[i].load(std::memory_order_acquire);
    return it.stamp.load(std::memory_order_relaxed) == number + 1;
  }

 private:
  struct entry {
    std::atomic<std::uint64_t> stamp{0};  ///< number + 1
    std::atomic<std::uint64_t> said[Words]{};
  };
  entry all_[remembered];
};

}  // namespace allfold::host
