// Starts ranks as processes of this machine, forked from the caller. Linux.
#pragma once

#include <allfold/communicator/processes.hpp>
#include <allfold/launch/forked_ranks.hpp>
#include <cstdio>

namespace allfold {

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

template <class Body>
void fork_and_wait(forked_ranks& ranks, processes::shared_region& region, int size, Body& body,
                   const processes::options& how) {
  processes::team_state{region.data(), size}.make([](int) { return 0; });
  flush_output();  // what is in buffers now is to be written once
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
/// As always with fork: call it while no other thread of the process is running. Meanwhile SIGCHLD
/// has its default action in this process, though not in the ranks. Throws itself only if `size` <
/// 1, or process_error if the system refuses memory or a process.
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
