// Folds and copies elements of which some lie in memory that only another process can address.
#pragma once

#include <algorithm>
#include <allfold/execution/fold.hpp>
#include <concepts>
#include <vector>

namespace allfold {

/// A host_port some of whose addresses mean something to their owner only:
///  - is_far(rank, where): whether that rank's buffer is such;
///  - fetch(rank, from, to, bytes), store(rank, to, from, bytes): copy from and to such memory;
///  - copies(bytes): memory of this rank's own for what was fetched, until the next call.
template <class Port>
concept far_port = requires(Port& port, int rank, void* place, std::size_t bytes) {
  port.fetch(rank, place, place, bytes);
  port.store(rank, place, place, bytes);
  { port.copies(bytes) } -> std::same_as<std::byte*>;
};

namespace detail {

/// Elements, and the rank that can address them: −1 if this one can.
template <class T>
struct far_place {
  T* at;
  int owner = -1;
  bool is_far() const { return owner >= 0; }
};

/// One rank's fold or copy, block by block, so that what is copied stays in the caches.
template <class T, class Port>
class far_work {
 public:
  far_work(Port& port, const std::vector<far_place<T>>& sources,
           const std::vector<far_place<T>>& targets)
      : port_{port}, sources_{sources}, targets_{targets} {}

  template <class Operation>
  void fold_all(std::size_t count, const Operation& operation, int finish_ranks) {
    for_blocks(count, [&](std::size_t begin, std::size_t length, T* copies, std::size_t block) {
      from_.clear();
      for (const far_place<T>& each : sources_) {
        if (!each.is_far()) {
          from_.push_back(each.at + begin);
          continue;
        }
        port_.fetch(each.owner, each.at + begin, copies, length * sizeof(T));
        from_.push_back(copies);
        copies += block;
      }
      to_.clear();
      for (const far_place<T>& each : targets_)
        if (!each.is_far()) to_.push_back(each.at + begin);
      if (to_.empty()) to_.push_back(copies);
      fold<T>(from_.data(), static_cast<int>(from_.size()), to_.data(),
              static_cast<int>(to_.size()), length, operation, finish_ranks);
      spread(to_.front(), begin, length);
    });
  }

  void copy_all(std::size_t count) {
    for_blocks(count, [&](std::size_t begin, std::size_t length, T* copies, std::size_t) {
      T* from = sources_.front().at + begin;
      to_.clear();
      for (const far_place<T>& each : targets_)
        if (!each.is_far()) to_.push_back(each.at + begin);
      if (sources_.front().is_far()) {
        T* const here = to_.empty() ? copies : to_.front();
        port_.fetch(sources_.front().owner, from, here, length * sizeof(T));
        from = here;
      }
      if (!to_.empty()) copy<T>(from, to_.data(), static_cast<int>(to_.size()), length);
      spread(from, begin, length);
    });
  }

 private:
  static constexpr std::size_t all_copies = std::size_t{512} << 10;  ///< bytes; fit a core's cache

  /// Calls work(begin, length, copies, block): `copies` has room for a block of each far source and
  /// one more.
  template <class Work>
  void for_blocks(std::size_t count, Work work) {
    const auto far = static_cast<std::size_t>(std::count_if(
        sources_.begin(), sources_.end(), [](const far_place<T>& each) { return each.is_far(); }));
    std::size_t block = std::max<std::size_t>(all_copies / (far + 1) / sizeof(T), 1);
    if (block > 64) block -= block % 64;
    block = std::min(block, std::max<std::size_t>(count, 1));
    T* const copies = reinterpret_cast<T*>(port_.copies((far + 1) * block * sizeof(T)));
    for (std::size_t begin = 0; begin < count; begin += block)
      work(begin, std::min(block, count - begin), copies, block);
  }
  void spread(const T* result, std::size_t begin, std::size_t length) {
    for (const far_place<T>& each : targets_)
      if (each.is_far()) port_.store(each.owner, each.at + begin, result, length * sizeof(T));
  }

  Port& port_;
  const std::vector<far_place<T>>& sources_;
  const std::vector<far_place<T>>& targets_;
  std::vector<T*> from_, to_;
};

}  // namespace detail
}  // namespace allfold
