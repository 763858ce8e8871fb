// Starts ranks as processes of this machine, forked from the caller. Linux.
#pragma once

#include <sys/prctl.h>
#include <sys/wait.h>

#include <allfold/communicator/processes.hpp>
#include <csignal>
#include <cstdio>
#include <thread>

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

  bool good() const { return status == 0 && signal == 0; }
  /// "rank 2 (process 4711) was killed by signal 9 (Killed)".
  std::string in_words() const {
    std::string text = "rank " + std::to_string(rank) + " (process " + std::to_string(process);
    if (signal == 0 && !thrown.empty()) return text + ") threw: " + thrown;
    return text + ") " + processes::ending_in_words(status, signal);
  }
};

namespace detail {

/// Leaves in a rank's seat what it threw, for the parent to read.
inline void leave_note(processes::seat& own, const std::exception_ptr& thrown) {
  const auto note = [&](host::failure_kind kind, const char* text) {
    own.thrown_kind = kind;
    std::snprintf(own.thrown, sizeof own.thrown, "%s", text);
  };
  try {
    std::rethrow_exception(thrown);
  } catch (const mismatch_error& it) {
    note(host::failure_kind::mismatch, it.what());
  } catch (const timeout_error& it) {
    note(host::failure_kind::timeout, it.what());
  } catch (const usage_error& it) {
    note(host::failure_kind::misuse, it.what());
  } catch (const std::exception& it) {
    note(host::failure_kind::lost, it.what());
  } catch (...) {
    note(host::failure_kind::lost, "something that is no std::exception");
  }
}

/// The life of one rank in its own process. Returns the exit status.
template <class Body>
int live_as_process(processes::shared_region& region, int rank, int size, Body& body,
                    const processes::options& how) {
  std::byte* const place = region.data();
  processes::seat& own = processes::team_state{place, size}.of(rank);
  std::shared_ptr<processes::shared_world> world;  // lasts until the last word is written
  try {
    region.close_descriptor();
    world = std::make_shared<processes::shared_world>(std::move(region),
                                                      processes::front_bytes(size), size, rank);
    processes::communicator ranks{
        std::make_shared<processes::team>(world, place, size, rank,
                                          processes::team_options_of(how, size)),
        rank, how};
    try {
      body(ranks);
      return 0;
    } catch (...) {
      leave_note(own, std::current_exception());
      ranks.leave_with(std::current_exception());  // before it has left: the others hear the cause
    }
  } catch (...) {
    leave_note(own, std::current_exception());
  }
  return 1;
}

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
      const int status = getppid() == parent ? life(rank) : 1;
      std::fflush(nullptr);
      _exit(status);  // what the parent has made is the parent's to destroy
    }
    endings_.emplace_back().rank = rank;
    endings_.back().process = made;
    running_.push_back(true);
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
    for (const int rank : failed_)
      if (endings_[static_cast<std::size_t>(rank)].thrown.empty())
        return &endings_[static_cast<std::size_t>(rank)];
    const int origin = state_.failed() ? state_.origin() : -1;
    for (const int rank : failed_)
      if (rank == origin) return &endings_[static_cast<std::size_t>(rank)];
    return failed_.empty() ? nullptr : &endings_[static_cast<std::size_t>(failed_.front())];
  }

 private:
  static constexpr std::chrono::milliseconds pause{2};

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
      processes::seat& its = state_.of(each.rank);
      its.ending.store(found > 0 ? 4 * state + 2 : 0);
      each.thrown = its.thrown;
      each.kind = its.thrown_kind;
      if (!each.good()) failed_.push_back(each.rank);
    }
    return some;
  }
  void kill_rest() {
    for (const process_ending& each : endings_)
      if (running_[static_cast<std::size_t>(each.rank)]) kill(each.process, SIGKILL);
  }

  processes::team_state state_;
  std::vector<process_ending> endings_;  ///< by rank
  std::vector<bool> running_;
  std::vector<int> failed_;  ///< ranks, in the order of their ends
};

template <class Body>
void fork_and_wait(forked_ranks& ranks, processes::shared_region& region, int size, Body& body,
                   const processes::options& how) {
  processes::team_state{region.data(), size}.make([](int) { return 0; });
  std::fflush(nullptr);  // what is in buffers now is to be written once
  for (int rank = 0; rank < size; ++rank)
    ranks.fork_rank([&](int own) { return live_as_process(region, own, size, body, how); });
  ranks.wait(how.timeout + std::chrono::seconds{1});  // leaving may take as long as waiting
}
inline processes::shared_region region_for(int size, const processes::options& how) {
  if (size < 1)
    throw usage_error{"allfold: spawn_processes needs at least one rank, not " +
                      std::to_string(size)};
  return processes::shared_region::create(processes::region_bytes(size, how));
}

}  // namespace detail

/// Runs `body(world)` on `size` ranks, each a process forked from this one, and returns how each
/// ended, by rank. `world` is a processes::communicator&. What `body` changes, but for shared
/// memory, is its own process's. When it returns the process ends at once: output is flushed, but
/// nothing that the caller has made is destroyed. If a rank or the team fails, those that have not
/// ended `how.timeout` and a second later are killed, unless they have gone on without it by
/// `shrink`; if the caller ends, all are.
///
/// As always with fork: call it while no other thread of the process is running. Throws itself only
/// if `size` < 1, or process_error if the system refuses memory or a process.
template <class Body>
std::vector<process_ending> try_spawn_processes(int size, Body&& body,
                                                processes::options how = {}) {
  processes::shared_region region = detail::region_for(size, how);
  detail::forked_ranks ranks{region, size};
  detail::fork_and_wait(ranks, region, size, body, how);
  return ranks.endings();
}

/// The same, but throws if a rank has failed: the library's error that the rank threw that failed
/// first, or else a rank_lost_error that says how its process ended.
template <class Body>
void spawn_processes(int size, Body&& body, processes::options how = {}) {
  processes::shared_region region = detail::region_for(size, how);
  detail::forked_ranks ranks{region, size};
  detail::fork_and_wait(ranks, region, size, body, how);
  if (const process_ending* const first = ranks.culprit()) {
    if (first->kind != host::failure_kind::lost && !first->thrown.empty())
      host::throw_as(first->kind, first->thrown);
    throw rank_lost_error{"allfold: " + first->in_words()};
  }
}

}  // namespace allfold
