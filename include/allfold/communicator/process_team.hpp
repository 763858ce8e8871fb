// What ranks that are processes share: the same as threads::team, in memory that all have mapped.
#pragma once

#include <allfold/communicator/far_memory.hpp>
#include <allfold/communicator/region_copies.hpp>
#include <allfold/communicator/shared_world.hpp>
#include <allfold/communicator/team_state.hpp>

namespace allfold::processes {

/// One process's view of a team. Used by its rank's thread, but for `fail`.
class team : public team_state {
 public:
  /// This process's view, as rank `rank`, of the state at `place`.
  team(std::shared_ptr<shared_world> world, std::byte* place, int size, int rank,
       host::team_options options)
      : team_state{place, size},
        world_{std::move(world)},
        options_{options},
        rank_{rank},
        speaker_{of(rank).sites},
        watches_(static_cast<std::size_t>(size)) {}

  const host::team_options& options() const { return options_; }
  const std::shared_ptr<shared_world>& world() const { return world_; }

  void say(int rank, std::uint64_t number, const call& it) {
    of(rank).said[number % remembered] = speaker_.spoken(it, number);
  }
  std::string words_of(int rank, std::uint64_t number) const {
    return processes::describe(of(rank).said[number % remembered], of(rank).sites);
  }
  /// Throws the team's failure as seen by a rank in the call `mine`.
  [[noreturn]] void throw_failure(int rank, const std::string& mine) const {
    host::throw_as(kind(), "allfold: rank " + std::to_string(rank) + ", " + mine + ": " + text());
  }

  // ---- who lives ----

  static constexpr bool dies_alone = true;
  /// True if the rank has left or its process has ended. Asks the system now and then only.
  bool gone(int peer) {
    if (of(peer).left.load()) return true;
    return ++questions_ % 16 == 0 && watch(peer).ended();
  }
  /// True if its process has ended, left or not. Asks the system.
  bool dead(int peer) { return watch(peer).ended(); }
  /// What its process does; empty if it has left in good order.
  std::string state_of(int peer) {
    return of(peer).left.load() ? std::string{} : watch(peer).in_words();
  }

  // ---- memory ----

  std::byte* shown(std::byte* own) const { return world_->shown(own); }
  std::byte* reached(std::byte* its) const { return world_->reached(its); }
  static bool is_far(std::byte* its) { return shared_world::is_far(its); }
  pid_t process_of(int rank) const { return of(rank).process.load(); }
  std::size_t copy_from(int peer, const void* from, void* to, std::size_t bytes) const {
    return processes::copy_from(process_of(peer), from, to, bytes);
  }
  std::size_t copy_to(int peer, void* to, const void* from, std::size_t bytes) const {
    return processes::copy_to(process_of(peer), to, from, bytes);
  }
  /// True if ranks read and write each other's memory outside the shared region.
  bool copies_once() const { return !head().no_single_copy.load(std::memory_order_relaxed); }
  void copy_through_region() { head().no_single_copy.store(true); }

  /// A rank's scratch memory, which others may read, and its own for copies of far elements.
  class scratch : public shared_scratch {
   public:
    scratch(team& of, int) : shared_scratch{of.world_} {}
    std::byte* own(std::size_t bytes) {
      const std::size_t lines = (bytes + sizeof(line) - 1) / sizeof(line);
      if (lines > own_.size()) own_.resize(lines);
      return own_.data()->bytes;
    }

   private:
    struct alignas(64) line {
      std::byte bytes[64];
    };
    std::vector<line> own_;
  };

  /// Reaches others as ranks of `other` do, where the same ranks are connected already.
  void follow(const team& other) {
    if (!other.copies_once()) copy_through_region();
    of(rank_).begin.store(other.of(other.rank_).begin.load());
  }
  /// The rank's process, if that is known before it has joined.
  void expect(int rank, std::int32_t process) { of(rank).process.store(process); }
  /// Says who this rank is, waits for the others, and finds out with them how they reach each
  /// other's memory. Every rank calls it, before anything else. Throws if one does not come.
  void connect(bool single_copy) {
    seat& own = of(rank_);
    own.process.store(getpid());
    own.sample = &sample_;
    own.begin.store(status_of(getpid()).begin);
    if (single_copy)
      let_others_copy();
    else
      copy_through_region();
    await_arrival(1);
    if (single_copy && !reads_all()) copy_through_region();
    await_arrival(2);
  }

 private:
  process_watch& watch(int peer) {
    process_watch& its = watches_[static_cast<std::size_t>(peer)];
    if (its.process() == 0 && process_of(peer) != 0)
      its = process_watch{process_of(peer), of(peer).begin.load()};
    return its;
  }
  void await_arrival(int stage) {
    of(rank_).arrived.store(stage);
    patience waiting{options_.crowded, options_.timeout};
    for (int peer = 0; peer < size(); ++peer)
      while (of(peer).arrived.load() < stage) {
        if (!waiting.pass()) continue;
        if (failed()) throw_failure(rank_, "while the ranks come together");
        if (gone(peer)) absent(peer, failure_kind::lost, "");
        if (waiting.expired())
          absent(peer, failure_kind::timeout,
                 " within " +
                     std::to_string(
                         std::chrono::duration_cast<std::chrono::milliseconds>(options_.timeout)
                             .count()) +
                     " ms");
      }
  }
  [[noreturn]] void absent(int peer, failure_kind how, const std::string& when) {
    const std::string state = state_of(peer);
    fail(how, rank_,
         "rank " + std::to_string(peer) + " has not joined" + when +
             (state.empty() ? "" : " (" + state + ")"));
    throw_failure(rank_, "while the ranks come together");
  }
  /// True if this process can read what others have in their own memory.
  bool reads_all() {
    for (int peer = 0; peer < size(); ++peer) {
      std::uint64_t found = 0;
      if (copy_from(peer, of(peer).sample, &found, sizeof found) != sizeof found ||
          found != sample_of)
        return false;
    }
    return true;
  }

  static constexpr std::uint64_t sample_of = 0x616c6c666f6c6421u;

  std::shared_ptr<shared_world> world_;
  host::team_options options_;
  int rank_;
  std::uint64_t sample_ = sample_of;
  call_speaker speaker_;
  std::vector<process_watch> watches_;
  unsigned questions_ = 0;
};

}  // namespace allfold::processes
