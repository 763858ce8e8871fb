// What a rank moves, by itself and by its companions.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace allfold::host {

/// Bytes and calls, counted by one rank since it joined.
struct traffic {
  std::uint64_t bytes_read = 0;     ///< by its folds and copies, from any rank's memory
  std::uint64_t bytes_written = 0;  ///< by its folds and copies, to any rank's memory
  std::uint64_t calls = 0;          ///< collectives completed
};

/// Counts a rank's traffic, and that of its companions, which count here too. Its own is added to
/// by one thread, without a locked instruction; any thread may ask for all.
class traffic_counter {
 public:
  void moved(std::uint64_t read, std::uint64_t written) {
    add(own_.read, read);
    add(own_.written, written);
    if (whole_) pass_on({read, written, 0});
  }
  void completed() {
    add(own_.calls, 1);
    if (whole_) pass_on({0, 0, 1});
  }

  traffic so_far() const {
    const traffic own = own_.now(), more = companions_.now();
    return {own.bytes_read + more.bytes_read, own.bytes_written + more.bytes_written,
            own.calls + more.calls};
  }
  /// What is counted from now on is counted by `whole` as well, however long that one's rank stays.
  void belong_to(std::shared_ptr<traffic_counter> whole) { whole_ = std::move(whole); }

 private:
  static constexpr auto relaxed = std::memory_order_relaxed;

  struct counters {
    std::atomic<std::uint64_t> read{0}, written{0}, calls{0};

    traffic now() const { return {read.load(relaxed), written.load(relaxed), calls.load(relaxed)}; }
  };

  static void add(std::atomic<std::uint64_t>& to, std::uint64_t more) {
    to.store(to.load(relaxed) + more, relaxed);
  }
  void pass_on(const traffic& more) {
    for (traffic_counter* each = whole_.get(); each != nullptr; each = each->whole_.get()) {
      each->companions_.read.fetch_add(more.bytes_read, relaxed);
      each->companions_.written.fetch_add(more.bytes_written, relaxed);
      each->companions_.calls.fetch_add(more.calls, relaxed);
    }
  }

  counters own_;
  std::shared_ptr<traffic_counter> whole_;
  alignas(64) counters companions_;  ///< added to by their threads
};

}  // namespace allfold::host
