// Starts ranks as threads of this process.
#pragma once

#include <allfold/communicator/cores.hpp>
#include <allfold/communicator/threads.hpp>
#include <exception>
#include <thread>
#include <vector>

namespace allfold {

/// How ranks are started.
struct spawn_options {
  /// The longest wait for another rank within one collective; afterwards every rank gets a
  /// timeout_error.
  std::chrono::steady_clock::duration timeout = std::chrono::minutes{10};
  /// Bind rank r to the r-th core that this process may use, round and round. Linux; elsewhere
  /// without effect.
  bool pin = false;
  /// Where a report of all ranks is written when the team fails; see host::team_options.
  std::string report{};
};

namespace detail {

/// What the ranks' threads left behind.
struct spawned {
  std::shared_ptr<threads::team> team;
  std::vector<std::exception_ptr> thrown;  ///< by rank; null for a rank that returned
};

/// The life of one rank: its communicator exists as long as `body` runs.
template <class Body>
void live(spawned& all, int rank, Body& body, bool pin) {
  if (pin) pin_this_thread(rank);
  try {
    threads::communicator world{all.team, rank};
    try {
      body(world);
    } catch (...) {
      // The others are told before this rank has left, so that they hear the cause.
      all.thrown[static_cast<std::size_t>(rank)] = std::current_exception();
      world.leave_with(std::current_exception());
    }
  } catch (...) {
    all.thrown[static_cast<std::size_t>(rank)] = std::current_exception();
  }
}

template <class Body>
spawned spawn_and_join(int size, Body& body, const spawn_options& options) {
  if (size < 1)
    throw usage_error{"allfold: spawn needs at least one rank, not " + std::to_string(size)};
  const threads::team_options shared{options.timeout, size > usable_cores(), options.report};
  spawned all{std::make_shared<threads::team>(size, shared),
              std::vector<std::exception_ptr>(static_cast<std::size_t>(size))};
  std::vector<std::thread> ranks;
  ranks.reserve(static_cast<std::size_t>(size));
  try {
    for (int rank = 0; rank < size; ++rank)
      ranks.emplace_back([&all, &body, rank, pin = options.pin] { live(all, rank, body, pin); });
  } catch (...) {  // a thread could not be started: let those go that were
    all.team->fail(threads::failure_kind::lost, -1,
                   "rank " + std::to_string(ranks.size()) + " could not be started");
    for (std::thread& each : ranks) each.join();
    throw;
  }
  for (std::thread& each : ranks) each.join();
  return all;
}

}  // namespace detail

/// Runs `body(world)` on `size` ranks, each a thread of its own, and returns what each rank threw,
/// by rank; null for a rank that returned. `world` is a threads::communicator&. Throws itself only
/// if `size` < 1 or a thread can't be started.
template <class Body>
std::vector<std::exception_ptr> try_spawn(int size, Body&& body, spawn_options options = {}) {
  return detail::spawn_and_join(size, body, options).thrown;
}

/// The same, but rethrows what the rank threw that failed first: its own exception, not what the
/// others were told of it. `try_spawn` gives them all.
template <class Body>
void spawn(int size, Body&& body, spawn_options options = {}) {
  const detail::spawned all = detail::spawn_and_join(size, body, options);
  const int origin = all.team->origin();
  if (origin >= 0 && all.thrown[static_cast<std::size_t>(origin)])
    std::rethrow_exception(all.thrown[static_cast<std::size_t>(origin)]);
  for (const std::exception_ptr& each : all.thrown)
    if (each) std::rethrow_exception(each);
}

}  // namespace allfold
