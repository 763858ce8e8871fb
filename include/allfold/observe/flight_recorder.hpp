// Reports of what all ranks are doing, on a signal: `kill -USR1 <process>`. POSIX.
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <allfold/communicator/report.hpp>
#include <allfold/error.hpp>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>

namespace allfold {

namespace detail {

/// What one process reports on signals. The handler only writes the signal's number to a pipe,
/// which is all that a handler may do; a thread reads it and writes the reports.
class signal_reports {
 public:
  /// Of what, on which signal, to where.
  using key = std::tuple<const void*, int, std::string>;

  static signal_reports& of_this_process() {
    static std::mutex mutex;
    const std::lock_guard lock{mutex};
    signal_reports* its = current().load();
    // Never destroyed, since a signal may come at any time. A forked process has no helper thread.
    if (its == nullptr || its->process_ != getpid()) current().store(its = new signal_reports);
    return *its;
  }
  signal_reports(const signal_reports&) = delete;
  signal_reports& operator=(const signal_reports&) = delete;

  void add(const key& of, std::function<std::string()> report) {
    const std::lock_guard changing{changes_};
    catch_signal(std::get<int>(of));
    if (!helper_.joinable()) start_helper();
    const std::lock_guard lock{mutex_};
    entry& it = entries_[of];
    it.report = std::move(report);
    ++it.users;
  }
  void remove(const key& of) {
    const std::lock_guard changing{changes_};
    bool none = false;
    {
      const std::lock_guard lock{mutex_};
      const auto found = entries_.find(of);
      if (found == entries_.end()) return;  // it was made before a fork
      if (--found->second.users == 0) entries_.erase(found);
      none = entries_.empty();
    }
    release_signal(std::get<int>(of));
    if (none) stop_helper();
  }

 private:
  struct entry {
    std::function<std::string()> report;
    int users = 0;
  };
  struct caught {
    struct sigaction before {};
    int users = 0;
  };

  signal_reports() : process_{getpid()} {
    if (pipe2(pipe_, O_CLOEXEC | O_NONBLOCK) != 0 || fcntl(pipe_[0], F_SETFL, 0) != 0)
      throw process_error{std::string{"allfold: report_on_signal: pipe: "} + std::strerror(errno)};
  }

  static std::atomic<signal_reports*>& current() {
    static std::atomic<signal_reports*> it{nullptr};
    return it;
  }
  static void handle(int signal) {
    const int number = errno;
    signal_reports* const its = current().load();
    if (its->process_ == getpid()) {
      const auto byte = static_cast<unsigned char>(signal);
      static_cast<void>(
          !write(its->pipe_[1], &byte, 1));  // if it is full, reports are on their way
    }
    errno = number;
  }
  void catch_signal(int signal) {
    caught& it = caught_[signal];
    if (it.users == 0) {
      struct sigaction wanted {};
      wanted.sa_handler = handle;
      wanted.sa_flags = SA_RESTART;
      if (sigaction(signal, &wanted, &it.before) != 0) {
        caught_.erase(signal);
        throw usage_error{"allfold: report_on_signal: signal " + std::to_string(signal) +
                          " can't be caught: " + std::strerror(errno)};
      }
    }
    ++it.users;
  }
  void release_signal(int signal) {
    caught& it = caught_[signal];
    if (--it.users > 0) return;
    // One that was sent and has reached no thread yet might end the process now: it is forgotten.
    struct sigaction ignoring {};
    ignoring.sa_handler = SIG_IGN;
    sigaction(signal, &ignoring, nullptr);
    sigaction(signal, &it.before, nullptr);
    caught_.erase(signal);
  }
  /// The program's signals are its own threads', so this one begins with all blocked.
  void start_helper() {
    struct blocked {
      sigset_t before;
      blocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
      }
      ~blocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    } const during;
    helper_ = std::thread{[this] { report_until_stopped(); }};
  }
  void stop_helper() {
    const unsigned char stop = 0;
    while (write(pipe_[1], &stop, 1) != 1) std::this_thread::yield();
    helper_.join();
  }
  void report_until_stopped() {
    unsigned char signal = 0;
    while (read(pipe_[0], &signal, 1) == 1 && signal != 0) {
      const std::lock_guard lock{mutex_};
      for (const auto& [of, it] : entries_)
        if (std::get<int>(of) == signal) write_one(it, std::get<std::string>(of));
    }
  }
  static void write_one(const entry& it, const std::string& where) {
    try {
      host::write_report(it.report(), where);
    } catch (const std::exception&) {  // there is no memory for it
    }
  }

  pid_t process_;
  int pipe_[2];
  std::mutex changes_;            ///< of signals and of the helper
  std::map<int, caught> caught_;  ///< by signal
  std::thread helper_;
  std::mutex mutex_;  ///< of the entries
  std::map<key, entry> entries_;
};

}  // namespace detail

/// While it lives, a signal to this process makes it write a report of all ranks of a communicator;
/// see `host::communicator::report`. It comes whatever the ranks are doing, unless the whole
/// process is stopped. Where several ranks of one team, or several communicators, of a process are
/// recorded, there is one report of each team.
///
/// The signal is handled by a thread of the library's, of which there is one per process. What a
/// process did on the signal before, it does again afterwards.
class report_on_signal {
 public:
  /// `where`: "stderr", or a file that reports are added to. Throws usage_error if the signal can't
  /// be caught.
  template <class World>
  explicit report_on_signal(const World& world, int signal = SIGUSR1, std::string where = "stderr")
      : key_{world.shared().get(), signal, std::move(where)} {
    detail::signal_reports::of_this_process().add(
        key_, [team = world.shared()] { return host::report_of(*team); });
  }
  report_on_signal(const report_on_signal&) = delete;
  report_on_signal& operator=(const report_on_signal&) = delete;
  ~report_on_signal() { detail::signal_reports::of_this_process().remove(key_); }

 private:
  detail::signal_reports::key key_;
};

}  // namespace allfold
