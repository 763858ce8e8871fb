// Hands out parts of the memory that a process shares with others.
#pragma once

#include <sys/mman.h>

#include <allfold/error.hpp>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

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
    const std::size_t length = rounded(bytes);
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      const auto [at, room] = *it;
      const std::size_t gap = length >= page ? (page - at % page) % page : 0;
      if (room < gap || room - gap < length) continue;
      free_.erase(it);
      if (gap > 0) free_.emplace(at, gap);
      if (room > gap + length) free_.emplace(at + gap + length, room - gap - length);
      taken_.emplace(at + gap, length);
      return begin_ + at + gap;
    }
    throw usage_error{"allfold: no room for " + std::to_string(bytes) +
                      " bytes in a rank's shared memory of " + std::to_string(size_) +
                      " bytes (arena_bytes)"};
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
    for (std::byte* const each : std::exchange(kept_, {})) reclaim(each);
  }
  /// Takes back what `take` has given. The pages of long parts go back to the system.
  void give_back(std::byte* place) {
    const std::lock_guard lock{mutex_};
    if (keeps_)
      kept_.push_back(place);
    else
      reclaim(place);
  }
  /// Bytes that are taken now.
  std::size_t used() const {
    const std::lock_guard lock{mutex_};
    std::size_t sum = 0;
    for (const auto& [at, length] : taken_) sum += length;
    return sum;
  }

 private:
  static constexpr std::size_t line = 64, page = 4096;
  static std::size_t rounded(std::size_t bytes) {
    const std::size_t step = bytes >= page ? page : line;
    return bytes == 0 ? line : (bytes + step - 1) / step * step;
  }
  void reclaim(std::byte* place) {
    const auto found = taken_.find(static_cast<std::size_t>(place - begin_));
    if (found == taken_.end()) return;
    auto [at, length] = *found;
    taken_.erase(found);
    if (length >= page) static_cast<void>(madvise(place, length / page * page, MADV_REMOVE));
    const auto next = free_.lower_bound(at);
    if (next != free_.end() && next->first == at + length) length += free_.extract(next).mapped();
    if (auto before = free_.lower_bound(at); before != free_.begin()) {
      --before;
      if (before->first + before->second == at) {
        before->second += length;
        return;
      }
    }
    free_.emplace(at, length);
  }

  std::byte* begin_;
  std::size_t size_;
  mutable std::mutex mutex_;
  bool keeps_ = false;
  std::vector<std::byte*> kept_;                     ///< given back meanwhile
  std::map<std::size_t, std::size_t> free_, taken_;  ///< lengths by offset
};

}  // namespace allfold::processes
