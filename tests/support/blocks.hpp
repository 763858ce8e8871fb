// Ranks whose collectives are carried out by the bodies of the library's kernels, with a
// std::thread for each thread of a block: what a device does, but for its instructions.
#pragma once

#include <allfold/collective/all_gather.hpp>
#include <allfold/collective/barrier.hpp>
#include <allfold/execution/device_block.hpp>
#include <allfold/launch/spawn.hpp>
#include <atomic>
#include <barrier>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace test {

namespace device = allfold::device;

/// How many threads a block has, and how many blocks a rank.
struct grid {
  int threads = 32;
  int lanes = 2;
};

/// What the threads of one block share.
class block_barrier {
 public:
  explicit block_barrier(int threads) : barrier_{threads} {}

  void sync() { barrier_.arrive_and_wait(); }
  /// `turn` is how many times the thread has asked before. Three flags take turns: while one is
  /// read, the next is already cleared.
  bool any(bool mine, std::uint64_t turn, bool clears) {
    if (clears) flags_[(turn + 1) % 3].store(false, std::memory_order_relaxed);
    if (mine) flags_[turn % 3].store(true, std::memory_order_relaxed);
    sync();
    return flags_[turn % 3].load(std::memory_order_relaxed);
  }
  device::block_memory& memory() { return memory_; }

 private:
  std::barrier<> barrier_;
  std::atomic<bool> flags_[3]{};
  device::block_memory memory_;
};

/// One thread of a block.
class block_thread {
 public:
  block_thread(block_barrier& shared, int index, int count)
      : shared_{shared}, index_{index}, count_{count} {}
  int index() const { return index_; }
  int count() const { return count_; }
  void sync() { shared_.sync(); }
  bool any(bool mine) { return shared_.any(mine, turn_++, index_ == 0); }
  device::block_memory& memory() { return shared_.memory(); }

 private:
  block_barrier& shared_;
  int index_;
  int count_;
  std::uint64_t turn_ = 0;
};
static_assert(device::lane<block_thread>);

/// The processor's own atomics.
struct thread_access {
  static std::uint64_t acquire(std::uint64_t* word) {
    return std::atomic_ref{*word}.load(std::memory_order_acquire);
  }
  static std::uint64_t relaxed_load(std::uint64_t* word) {
    return std::atomic_ref{*word}.load(std::memory_order_relaxed);
  }
  static void release(std::uint64_t* word, std::uint64_t value) {
    std::atomic_ref{*word}.store(value, std::memory_order_release);
  }
  static void relaxed_store(std::uint64_t* word, std::uint64_t value) {
    std::atomic_ref{*word}.store(value, std::memory_order_relaxed);
  }
  static bool has_failed(device::failure_report* report) {
    return std::atomic_ref{report->word}.load(std::memory_order_acquire) !=
               device::failure_report::free ||
           std::atomic_ref{report->stopped}.load(std::memory_order_acquire) != 0;
  }
  static bool claim(std::uint64_t* flag) { return std::atomic_ref{*flag}.exchange(1) == 0; }
  static void finish_report(device::failure_report* report) {
    std::atomic_ref{report->word}.store(device::failure_report::written, std::memory_order_release);
  }
  static std::uint64_t now() {
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
  static void pause() { std::this_thread::yield(); }
};
static_assert(device::memory_access<thread_access>);

/// Carries out a launch, all blocks at once. False if it has failed.
template <class T, class Schedule, class Operation>
bool run_blocks(const device::launch<Schedule, Operation>& told, int threads_of_block) {
  std::atomic<bool> good{true};
  std::vector<std::unique_ptr<block_barrier>> shared;
  std::vector<std::thread> threads;
  for (int number = 0; number < device::blocks_of(told); ++number) {
    block_barrier& block = *shared.emplace_back(std::make_unique<block_barrier>(threads_of_block));
    for (int index = 0; index < threads_of_block; ++index)
      threads.emplace_back([&, number, index] {
        block_thread thread{block, index, threads_of_block};
        if (!device::run_block<T, thread_access>(thread, told, number)) good = false;
      });
  }
  for (std::thread& each : threads) each.join();
  return good;
}

/// A kernel gave up.
struct kernel_failed : std::runtime_error {
  explicit kernel_failed(const device::failure_report& it)
      : std::runtime_error{"the kernel failed"}, report{it} {}
  device::failure_report report;
};

/// A rank of a group of emulated devices.
class blocks {
 public:
  static constexpr allfold::memory_space space = allfold::memory_space::host;
  static constexpr std::size_t small_bytes = 496;
  static constexpr std::size_t piece_bytes(int, int) { return 768; }

  blocks(allfold::threads::communicator& control, grid shape,
         std::chrono::nanoseconds patience = std::chrono::minutes{2})
      : control_{control},
        shape_{shape},
        states_(static_cast<std::size_t>(shape.lanes)),
        slots_(2 * slot_words * static_cast<std::size_t>(control.size())) {
    all_.size = size();
    all_.slot_words = slot_words;
    all_.patience = static_cast<std::uint64_t>(patience.count());
    gather(states_.data(), all_.states);
    gather(slots_.data(), all_.slots);
    device::failure_report* reports[device::max_ranks]{};
    gather(&report_, reports);
    all_.failure = reports[0];
  }
  blocks(const blocks&) = delete;
  blocks& operator=(const blocks&) = delete;
  /// The others may still look at this rank's counters.
  ~blocks() {
    try {
      allfold::barrier(control_);
    } catch (const allfold::error&) {
    }
  }

  int rank() const { return control_.rank(); }
  int size() const { return control_.size(); }
  void abort(const std::string& why) { control_.abort(why); }
  /// A test may show another rank what it likes.
  const device::group& group() const { return all_; }
  /// Throws away what is added to the fingerprint of this rank's next calls.
  void disagree_by(std::uint64_t difference) { difference_ = difference; }

  template <class T, class Schedule, class Operation>
  void run(const Schedule& plan, const allfold::threads::operands& memory,
           const allfold::partition& parts, const Operation& operation, const allfold::call& said) {
    device::launch<Schedule, Operation> told{{plan,
                                              operation,
                                              parts,
                                              {},
                                              device::slice_granule<T>,
                                              said.fingerprint() ^ difference_,
                                              calls_++},
                                             all_,
                                             shape_.lanes,
                                             0,
                                             0,
                                             {}};
    if (parts.counts() != nullptr) {
      std::copy_n(parts.counts(), size(), told.work.counts);
      // A device can't read where the caller has them.
      static constexpr std::size_t out_of_reach[device::max_ranks] = {~std::size_t{0}};
      told.work.parts = parts.with_counts_at(out_of_reach);
    }
    scratch_.resize(memory.scratch_bytes / sizeof(line) + 1);
    device::seat(told, {rank(), static_cast<std::byte*>(const_cast<void*>(memory.input)),
                        static_cast<std::byte*>(memory.output),
                        reinterpret_cast<std::byte*>(scratch_.data())});
    if (!run_blocks<T>(told, shape_.threads)) throw kernel_failed{reported()};
  }

 private:
  static constexpr std::size_t slot_words = small_bytes / device::bytes_per_word + 16;
  struct alignas(128) line {
    std::byte bytes[128];
  };

  template <class T>
  void gather(T* mine, T* (&everyone)[device::max_ranks]) {
    std::vector<T*> all(static_cast<std::size_t>(size()));
    allfold::all_gather(control_, std::span{&mine, 1}, all);
    std::copy(all.begin(), all.end(), everyone);
  }

  /// The group's failure, once it is written out: another rank may still be about to. Nothing but
  /// `stopped` if nobody has failed, and the kernels were told to stop.
  device::failure_report reported() const {
    device::failure_report& it = *all_.failure;
    const std::atomic_ref word{it.word}, stopped{it.stopped};
    while (word.load(std::memory_order_acquire) != device::failure_report::written) {
      if (stopped.load(std::memory_order_relaxed) != 0)
        return {device::failure_report::free, stopped.load(), {}, -1, -1, -1, -1, 0};
      std::this_thread::yield();
    }
    // Its words may still be looked at by others.
    return {
        device::failure_report::written, 0, it.kind, it.rank, it.lane, it.peer, it.step, it.call};
  }

  allfold::threads::communicator& control_;
  grid shape_;
  std::vector<device::lane_state> states_;
  std::vector<std::uint64_t> slots_;
  std::vector<line> scratch_;
  device::failure_report report_{};
  device::group all_{};
  std::uint64_t difference_ = 0;
  std::uint64_t calls_ = 0;
};

using world = blocks;

/// The grid that the next worlds have.
inline grid current_grid;

template <class Body>
void run_world(int ranks, Body body) {
  allfold::spawn(ranks,
                 [&](allfold::threads::communicator& control) {
                   blocks mine{control, current_grid};
                   body(mine);
                 },
                 {.timeout = std::chrono::minutes{2}});
}

}  // namespace test
