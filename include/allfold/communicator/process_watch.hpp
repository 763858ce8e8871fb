// Whether another process lives, and what it is doing. Linux.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <allfold/communicator/cores.hpp>
#include <allfold/communicator/patience.hpp>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace allfold::processes {

/// What the system says of a process: a letter for its state, 0 if there is no such process, '?' if
/// the system does not say; and when it began, in ticks since the system did, or 0. Takes no
/// memory: it is asked when there may be none.
struct process_status {
  char state = 0;
  std::uint64_t begin = 0;
};
/// That of a process, at this moment.
inline process_status status_of(pid_t process) {
  char path[32], text[1024];
  std::snprintf(path, sizeof path, "/proc/%ld/stat", static_cast<long>(process));
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (file >= 0) close(file);
  // That there is no file, or no room to open one, does not mean that there is no process.
  if (length <= 0) return {kill(process, 0) != 0 && errno == ESRCH ? '\0' : '?', 0};
  text[length] = '\0';
  // The second field is the program's name in parentheses, which may hold anything.
  const char* at = std::strrchr(text, ')');
  if (at == nullptr || at[1] == '\0') return {'?', 0};
  process_status found{at[2], 0};
  ++at;
  for (int field = 3; field < 22 && at != nullptr; ++field) at = std::strchr(at + 1, ' ');
  if (at != nullptr) found.begin = std::strtoull(at, nullptr, 10);
  return found;
}

/// Where the numbers of processes mean what they mean here: the system's start, and the namespace
/// of processes. Empty as far as the system does not say.
inline std::string numbering_of_processes() {
  std::string found = allfold::detail::start_of_system();
  char text[64];
  const ssize_t length = readlink("/proc/self/ns/pid", text, sizeof text);
  if (length > 0) found += ' ' + std::string(text, static_cast<std::size_t>(length));
  return found;
}

/// How a process ended: "was killed by signal 9 (Killed)", or without a signal "ended with status
/// 1".
inline std::string ending_in_words(int status, int signal) {
  if (signal == 0) return "ended with status " + std::to_string(status);
  return "was killed by signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
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
    ended_ = now.state == 0 || is_another(now);
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
    } else {  // a system without such descriptors, or there is no room for one more
      const process_status now = status_of(process_);
      ended_ = now.state == 0 || now.state == 'Z' || is_another(now);
    }
    return ended_;
  }
  /// True if a signal has stopped the process, and none has continued it.
  bool stopped() {
    if (ended()) return false;
    const char state = status_of(process_).state;
    return state == 'T' || state == 't';
  }
  /// Ends the process by SIGKILL, which can't be held back, and waits until it has ended, for
  /// `limit` at the longest. True if it has ended.
  bool end(std::chrono::steady_clock::duration limit) {
    if (process_ == 0 || ended()) return process_ != 0;
    if (descriptor_ >= 0)
      syscall(SYS_pidfd_send_signal, descriptor_, SIGKILL, nullptr, 0u);
    else
      kill(process_, SIGKILL);
    patience waiting{true, limit};
    while (!ended() && !waiting.expired()) waiting.pass();
    return ended();
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
      case '?':
        return who + " lives";
      default:
        return who + " sleeps";
    }
  }

 private:
  /// True if the number is another process's by now.
  bool is_another(const process_status& now) const {
    return begin_ != 0 && now.begin != 0 && now.begin != begin_;
  }

  pid_t process_ = 0;
  std::uint64_t begin_ = 0;
  int descriptor_ = -1;
  bool ended_ = false;
};

}  // namespace allfold::processes
