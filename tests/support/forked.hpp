// Work in processes forked from a test, and memory that they share with it. Linux.
#pragma once

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "support/shared_with_children.hpp"

namespace test {

/// A text that several processes add to; what finds no room is left out.
class shared_text {
 public:
  void add(const std::string& text) {
    const std::size_t begin = used_.fetch_add(text.size());
    for (std::size_t i = 0; i < text.size() && begin + i < sizeof text_ - 1; ++i)
      text_[begin + i] = text[i];
  }
  std::string text() const { return text_; }

 private:
  std::atomic<std::size_t> used_{0};
  char text_[1 << 16] = {};
};

/// Ends this process by a signal, whatever handlers a test's framework has.
[[noreturn]] inline void die_by(int signal) {
  std::signal(signal, SIG_DFL);
  raise(signal);
  _exit(127);
}

/// Waits for a forked process; kills it after `limit`. What `waitpid` gives.
inline int wait_for_child(pid_t child, std::chrono::steady_clock::duration limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  int status = -1;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return status;
}

/// Runs work(i) once for every i below `count`, in so many forked processes at a time, and returns
/// what the works return, one behind the other. Threads must not be running.
template <class Work>
std::string in_processes(int processes, std::size_t count,
                         std::chrono::steady_clock::duration limit, Work work) {
  struct board {
    std::atomic<std::size_t> next{0};
    shared_text said;
  };
  shared_with_children<board> shared;
  std::fflush(nullptr);
  std::vector<pid_t> children;
  for (int i = 0; i < processes; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (std::size_t one = shared->next++; one < count; one = shared->next++)
        shared->said.add(work(one));
      _exit(0);
    }
    children.push_back(child);
  }
  const auto end = std::chrono::steady_clock::now() + limit;
  for (const pid_t child : children)
    if (const int status = wait_for_child(child, end - std::chrono::steady_clock::now());
        status != 0)
      shared->said.add("\na process that does the work ended with " + std::to_string(status));
  return shared->said.text();
}

}  // namespace test
