// Hands out parts of the memory that a process shares with others.
#pragma once

#include <sys/mman.h>

#include <allfold/error.hpp>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace allfold::processes {

/// The free and the taken parts of a stretch of memory, of which one process is the only user of
/// this kind: what it hands out is known to that process alone. Any of its threads may call.
class shared_heap {
 public:
  /// `begin` lies at a page.
  shared_heap(std::byte* begin, std::size_t bytes) : begin_{begin}, size_{bytes} {
    if (bytes > 0) free_.emplace(0, bytes);
  }
  shared_heap(const shared_heap&) = delete;
  shared_heap& operator=(const shared_heap&) = delete;

  /// At least `bytes` bytes that begin at a cache line, long ones at a page, with whatever content.
  /// Throws usage_error if there is no room.
  std::byte* take(std::size_t bytes) {
    const std::lock_guard lock{mutex_};
    if (bytes > size_) refuse(bytes);  // before it is rounded up, beyond what counts can say
    const std::size_t length = rounded(bytes);
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      const auto [at, room] = *it;
      const std::size_t gap = length >= page ? (page - at % page) % page : 0;
      if (room < gap || room - gap < length) continue;
      const auto taken = taken_.emplace(at + gap, length).first;
      try {
        if (room > gap + length) free_.emplace(at + gap + length, room - gap - length);
      } catch (...) {
        taken_.erase(taken);
        throw;
      }
      if (gap > 0)
        it->second = gap;
      else
        free_.erase(it);
      return begin_ + at + gap;
    }
    refuse(bytes);
  }
  /// From now on nothing that is given back is handed out again: somebody may write to it.
  void keep() {
    const std::lock_guard lock{mutex_};
    keeps_ = true;
  }
  /// Nobody does any more, so all of that is free.
  void release() {
    const std::lock_guard lock{mutex_};
    keeps_ = false;
    while (!kept_.empty()) reclaim(kept_.extract(kept_.begin()));
  }
  /// Takes back what `take` has given. The pages of long parts go back to the system. Needs no
  /// memory.
  void give_back(std::byte* place) {
    const std::lock_guard lock{mutex_};
    parts::node_type part = taken_.extract(static_cast<std::size_t>(place - begin_));
    if (part.empty()) return;
    if (keeps_)
      kept_.insert(std::move(part));
    else
      reclaim(std::move(part));
  }
  /// Bytes that are taken now.
  std::size_t used() const {
    const std::lock_guard lock{mutex_};
    std::size_t sum = 0;
    for (const parts* const each : {&taken_, &kept_})
      for (const auto& [at, length] : *each) sum += length;
    return sum;
  }

 private:
  [[noreturn]] void refuse(std::size_t bytes) const {
    throw usage_error{"allfold: no room for " + std::to_string(bytes) +
                      " bytes in a rank's shared memory of " + std::to_string(size_) +
                      " bytes (arena_bytes)"};
  }
  using parts = std::map<std::size_t, std::size_t>;  ///< lengths by offset
  static constexpr std::size_t line = 64, page = 4096;
  static std::size_t rounded(std::size_t bytes) {
    const std::size_t step = bytes >= page ? page : line;
    return bytes == 0 ? line : (bytes + step - 1) / step * step;
  }
  void reclaim(parts::node_type part) {
    std::size_t& length = part.mapped();
    const std::size_t at = part.key();
    if (length >= page) static_cast<void>(madvise(begin_ + at, length / page * page, MADV_REMOVE));
    const auto next = free_.lower_bound(at);
    if (next != free_.end() && next->first == at + length) length += free_.extract(next).mapped();
    if (auto before = free_.lower_bound(at); before != free_.begin()) {
      --before;
      if (before->first + before->second == at) {
        before->second += length;
        return;
      }
    }
    free_.insert(std::move(part));
  }

  std::byte* begin_;
  std::size_t size_;
  mutable std::mutex mutex_;
  bool keeps_ = false;
  parts free_, taken_, kept_;  ///< kept: given back, but not handed out again yet
};

}  // namespace allfold::processes
