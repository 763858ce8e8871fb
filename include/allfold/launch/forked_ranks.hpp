// The processes that a program has forked to be ranks, as it sees them itself. Linux.
#pragma once

#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <allfold/communicator/shared_region.hpp>
#include <allfold/communicator/team_state.hpp>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <thread>
#include <vector>

namespace allfold {

/// How a rank's process ended.
struct process_ending {
  int rank = 0;
  pid_t process = 0;
  int status = 0;      ///< its exit status
  int signal = 0;      ///< the signal that killed it, or 0
  std::string thrown;  ///< the text of what `body` threw; empty if it returned
  host::failure_kind kind = host::failure_kind::lost;  ///< of what it threw, if that is a
                                                       ///< library's error
  bool late = false;  ///< its parent killed it, since it did not end in time after a failure

  bool good() const { return status == 0 && signal == 0; }
  /// "rank 2 (process 4711) was killed by signal 9 (Killed)".
  std::string in_words() const {
    std::string text = "rank " + std::to_string(rank) + " (process " + std::to_string(process);
    if ((signal == 0 || late) && !thrown.empty()) return text + ") threw: " + thrown;
    if (late) return text + ") did not end after a failure, and was killed";
    return text + ") " + processes::ending_in_words(status, signal);
  }
};

namespace detail {

/// Writes what this process has said so far and not written yet. `std::cout` has a buffer of its
/// own where it is not synchronised with stdio.
inline void flush_output() {
  std::cout.flush();
  std::clog.flush();
  std::fflush(nullptr);
}

/// While it lives, how a child ends is kept until somebody asks, whatever the process does with
/// SIGCHLD otherwise: where that is ignored the system keeps nothing.
class keeping_of_endings {
 public:
  keeping_of_endings() {
    struct sigaction usual {};
    usual.sa_handler = SIG_DFL;
    if (sigaction(SIGCHLD, &usual, &before_) != 0) processes::refuse("sigaction of SIGCHLD");
  }
  keeping_of_endings(const keeping_of_endings&) = delete;
  keeping_of_endings& operator=(const keeping_of_endings&) = delete;
  ~keeping_of_endings() { put_back(); }
  void put_back() const { sigaction(SIGCHLD, &before_, nullptr); }

 private:
  struct sigaction before_ {};
};

/// The processes of one spawn_processes, as their parent sees them.
class forked_ranks {
 public:
  forked_ranks(const processes::shared_region& region, int size) : state_{region.data(), size} {}
  forked_ranks(const forked_ranks&) = delete;
  forked_ranks& operator=(const forked_ranks&) = delete;
  ~forked_ranks() {
    kill_rest();
    while (look()) std::this_thread::sleep_for(pause);
  }

  /// Forks the next rank, which runs `life(rank)` and exits with what it returns.
  template <class Life>
  void fork_rank(Life life) {
    const auto rank = static_cast<int>(endings_.size());
    const pid_t parent = getpid();
    state_.of(rank).ending.store(1);
    const pid_t made = fork();
    if (made < 0) processes::refuse("fork of rank " + std::to_string(rank));
    if (made == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // no rank outlives who waits for it
      endings_kept_.put_back();
      const int status = getppid() == parent ? life(rank) : 1;
      flush_output();
      _exit(status);  // what the parent has made is the parent's to destroy
    }
    endings_.emplace_back().rank = rank;
    endings_.back().process = made;
    running_.push_back(true);
    given_up_.push_back(false);
    state_.of(rank).process.store(made);
  }
  /// Waits for all. Those that go on when one or the team has failed are killed after `grace`,
  /// unless they have agreed to go on without it.
  void wait(std::chrono::steady_clock::duration grace) {
    auto last_well = std::chrono::steady_clock::now();
    while (look()) {
      const auto now = std::chrono::steady_clock::now();
      if (!is_in_trouble()) last_well = now;
      if (now - last_well > grace) kill_rest();
      std::this_thread::sleep_for(pause);
    }
  }
  const std::vector<process_ending>& endings() const { return endings_; }
  /// Of those that failed, the one that others failed because of; null if all are well.
  const process_ending* culprit() const {
    const int origin = state_.failed() ? state_.origin() : -1;
    const auto doubt = [&](int rank) {
      const process_ending& its = ending_of(rank);
      if (its.thrown.empty()) return its.late ? 3 : 0;  // late: others had failed before
      return rank == origin ? 1 : 2;
    };
    const auto first = std::min_element(failed_.begin(), failed_.end(), [&](int one, int other) {
      return doubt(one) < doubt(other);
    });
    return first == failed_.end() ? nullptr : &ending_of(*first);
  }

 private:
  static constexpr std::chrono::milliseconds pause{2};

  const process_ending& ending_of(int rank) const {
    return endings_[static_cast<std::size_t>(rank)];
  }
  /// True if something has failed that those who run are not done with.
  bool is_in_trouble() const {
    bool only_left_out = true;  // of those who run
    for (const process_ending& each : endings_) {
      if (!running_[static_cast<std::size_t>(each.rank)]) continue;
      if (state_.of(each.rank).shrinks.load()) return false;
      if (!state_.of(each.rank).left_out.load()) only_left_out = false;
    }
    for (const int rank : failed_)
      if (!state_.of(rank).left_out.load()) return true;
    return only_left_out || (state_.failed() && state_.decider() < 0);
  }

  /// Takes notice of ranks that have ended. True if others are running.
  bool look() {
    bool some = false;
    for (process_ending& each : endings_) {
      if (!running_[static_cast<std::size_t>(each.rank)]) continue;
      int state = 0;
      const pid_t found = waitpid(each.process, &state, WNOHANG);
      if (found == 0) {
        some = true;
        continue;
      }
      running_[static_cast<std::size_t>(each.rank)] = false;
      each.status = found > 0 && WIFEXITED(state) ? WEXITSTATUS(state) : 1;
      each.signal = found > 0 && WIFSIGNALED(state) ? WTERMSIG(state) : 0;
      each.late = each.signal == SIGKILL && given_up_[static_cast<std::size_t>(each.rank)];
      processes::seat& its = state_.of(each.rank);
      its.ending.store(found > 0 ? 4 * state + 2 : 0);
      each.thrown = its.thrown;
      each.kind = its.thrown_kind;
      if (!each.good()) failed_.push_back(each.rank);
    }
    return some;
  }
  void kill_rest() {
    for (const process_ending& each : endings_) {
      if (!running_[static_cast<std::size_t>(each.rank)]) continue;
      given_up_[static_cast<std::size_t>(each.rank)] = true;
      kill(each.process, SIGKILL);
    }
  }

  keeping_of_endings endings_kept_;  // first, so that it is the last to go
  processes::team_state state_;
  std::vector<process_ending> endings_;  ///< by rank
  std::vector<bool> running_, given_up_;
  std::vector<int> failed_;  ///< ranks, in the order of their ends
};

}  // namespace detail
}  // namespace allfold
