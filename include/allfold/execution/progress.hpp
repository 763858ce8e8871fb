// A thread that works off numbered jobs in their order, while its owner goes on.
#pragma once

#include <allfold/communicator/cores.hpp>
#include <allfold/communicator/patience.hpp>
#include <atomic>
#include <exception>
#include <thread>
#include <utility>

namespace allfold::detail {

/// Jobs 0, 1, 2, … are carried out by a thread of their own once they are posted. One thread posts
/// and waits. While there is nothing to do the thread sleeps.
template <class Job>
class progress_thread {
 public:
  /// `job(number)` is called on the thread. If it throws, no other job is carried out, and `wait`
  /// throws the same.
  progress_thread(Job job, bool crowded)
      : job_{std::move(job)}, crowded_{crowded}, thread_{[this] { run(); }} {}
  progress_thread(const progress_thread&) = delete;
  progress_thread& operator=(const progress_thread&) = delete;
  /// The job that is being carried out is completed; others that were posted are not.
  ~progress_thread() {
    stopped_.store(true);
    wake();
    thread_.join();
  }

  /// How many jobs have been posted.
  std::uint64_t posted() const { return posted_.load(std::memory_order_relaxed); }
  /// The next job may begin; what the caller has written is visible to it.
  void post() {
    posted_.fetch_add(1, std::memory_order_release);
    wake();
  }
  /// True if all that were posted are done, or one has failed.
  bool idle() const { return failed_.load() || done_.load(std::memory_order_acquire) == posted(); }
  /// Returns once all jobs that were posted are done. Throws what one has thrown.
  void wait() { wait(posted()); }
  /// The same for the first `jobs` of them.
  void wait(std::uint64_t jobs) {
    patience waiting{crowded_, {}};
    while (!failed_.load() && done_.load(std::memory_order_acquire) < jobs) waiting.pass();
    if (failed_.load()) std::rethrow_exception(thrown_);
  }
  /// Returns once nothing is being done and nothing will be, without throwing.
  void settle() {
    patience waiting{crowded_, {}};
    while (!idle()) waiting.pass();
  }

 private:
  void wake() {
    signal_.fetch_add(1);
    signal_.notify_one();
  }
  void run() {
    free_this_thread();  // the owner's core may be busy while others are not
    for (std::uint64_t next = 0;;) {
      const std::uint32_t seen = signal_.load();
      if (stopped_.load()) return;
      if (next == posted_.load(std::memory_order_acquire)) {
        signal_.wait(seen);
        continue;
      }
      try {
        job_(next++);
      } catch (...) {
        thrown_ = std::current_exception();
        failed_.store(true);
        return;
      }
      done_.store(next, std::memory_order_release);
    }
  }

  Job job_;
  bool crowded_;
  std::atomic<std::uint64_t> posted_{0}, done_{0};
  std::atomic<std::uint32_t> signal_{0};  // changes whenever there is something to look at
  std::atomic<bool> stopped_{false}, failed_{false};
  std::exception_ptr thrown_;
  std::thread thread_;  // last: it uses all others
};

}  // namespace allfold::detail
