// Collects what went wrong on any thread, to be checked once on the main thread.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>

namespace test {

/// A list of failures that any thread may add to. Keeps the first few in words and counts all.
class failures {
 public:
  void add(const std::string& what) {
    const std::lock_guard lock{mutex_};
    if (++count_ <= shown) text_ += "\n  " + what;
  }
  std::size_t count() const {
    const std::lock_guard lock{mutex_};
    return count_;
  }
  bool none() const { return count() == 0; }
  std::string text() const {
    const std::lock_guard lock{mutex_};
    return std::to_string(count_) + (count_ == 1 ? " failure:" : " failures, the first:") + text_;
  }

 private:
  static constexpr std::size_t shown = 10;

  mutable std::mutex mutex_;
  std::size_t count_ = 0;
  std::string text_;
};

/// Checks on the main thread that a test::failures has stayed empty.
#define CHECK_NONE(list) CHECK_MESSAGE((list).none(), (list).text())

}  // namespace test
