// Whether another process lives, and what it is doing. Linux.
#pragma once

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>

namespace allfold::processes {

/// What the system says of a process: a letter for its state, 0 if there is none, and when it
/// began, in ticks since the system did.
struct process_status {
  char state = 0;
  std::uint64_t begin = 0;
};
inline process_status status_of(pid_t process) {
  std::ifstream file{"/proc/" + std::to_string(process) + "/stat"};
  std::string line;
  if (!std::getline(file, line)) return {};
  // The second field is the program's name in parentheses, which may hold anything.
  const std::size_t end = line.rfind(')');
  if (end == std::string::npos || end + 2 >= line.size()) return {};
  process_status found{line[end + 2], 0};
  std::size_t at = end + 2;
  for (int field = 3; field < 22 && at != std::string::npos; ++field) at = line.find(' ', at + 1);
  if (at != std::string::npos) found.begin = std::strtoull(line.c_str() + at, nullptr, 10);
  return found;
}

/// Watches one process. A number that the system gives to another process afterwards does not
/// deceive it.
class process_watch {
 public:
  /// No process: it has not ended, and nothing is known of it.
  process_watch() = default;
  /// `begin`: when the process began, as it said itself; 0 if it has not said.
  process_watch(pid_t process, std::uint64_t begin) : process_{process} {
    descriptor_ = static_cast<int>(syscall(SYS_pidfd_open, process, 0u));
    const process_status now = status_of(process);
    begin_ = begin != 0 ? begin : now.begin;
    if (descriptor_ < 0 && errno == ESRCH) ended_ = true;
    if (begin != 0 && now.begin != begin) ended_ = true;
  }
  process_watch(process_watch&& other) noexcept
      : process_{other.process_},
        begin_{other.begin_},
        descriptor_{std::exchange(other.descriptor_, -1)},
        ended_{other.ended_} {}
  process_watch& operator=(process_watch&& other) noexcept {
    std::swap(process_, other.process_);
    std::swap(begin_, other.begin_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(ended_, other.ended_);
    return *this;
  }
  ~process_watch() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  pid_t process() const { return process_; }
  /// True once the process has ended, whether or not its parent has taken notice. One system call.
  bool ended() {
    if (ended_ || process_ == 0) return ended_;
    if (descriptor_ >= 0) {
      pollfd asked{descriptor_, POLLIN, 0};
      ended_ = poll(&asked, 1, 0) > 0;
    } else {  // a system without such descriptors
      const process_status now = status_of(process_);
      ended_ = now.state == 0 || now.state == 'Z' || now.begin != begin_;
    }
    return ended_;
  }
  /// "its process 4711 is stopped".
  std::string in_words() {
    if (process_ == 0) return "its process is not known";
    const std::string who = "its process " + std::to_string(process_);
    if (ended()) return who + " has ended";
    switch (status_of(process_).state) {
      case 'R':
        return who + " is running";
      case 'T':
      case 't':
        return who + " is stopped";
      case 'D':
        return who + " waits for a device";
      default:
        return who + " sleeps";
    }
  }

 private:
  pid_t process_ = 0;
  std::uint64_t begin_ = 0;
  int descriptor_ = -1;
  bool ended_ = false;
};

}  // namespace allfold::processes
