// What ranks that are processes share: the same as threads::team, in memory that all have mapped.
#pragma once

#include <algorithm>
#include <allfold/communicator/cores.hpp>
#include <allfold/communicator/far_memory.hpp>
#include <allfold/communicator/region_copies.hpp>
#include <allfold/communicator/report.hpp>
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
    of(rank).said.keep(number, packed(speaker_.spoken(it)));
  }
  /// See team_state; and reports what all ranks do, if that is wanted.
  void fail(failure_kind kind, int origin, std::string_view text) {
    if (failed()) return;
    host::failure_report report{*this};
    if (team_state::fail(kind, origin, text)) report.write(text);
  }
  /// Throws the team's failure as seen by a rank in the call `mine`.
  [[noreturn]] void throw_failure(int rank, const std::string& mine) const {
    host::throw_as(kind(), "allfold: rank " + std::to_string(rank) + ", " + mine + ": " + text());
  }

  // ---- who lives ----

  static constexpr bool dies_alone = true;
  /// True if its process has ended, left or not. Asks the system.
  bool dead(int peer) { return watch(peer).ended(); }
  /// True if its process is stopped. Asks the system.
  bool stopped(int peer) { return watch(peer).stopped(); }

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

  // ---- those that are left after a failure; see shrink.hpp ----

  /// The state of a new team of these ranks, in this process's part of the memory, which is lent
  /// until all of them have left it.
  std::byte* made_for(const std::vector<int>& members) {
    const auto ranks = static_cast<int>(members.size());
    std::byte* const made = world_->lend(bytes_for(ranks), [ranks](std::byte* it) {
      return team_state{it, ranks}.all_left();
    });
    const team_state state{made, ranks};
    state.make([](int) { return 0; });
    for (int each = 0; each < ranks; ++each)
      state.of(each).succeed(of(members[static_cast<std::size_t>(each)]));
    return made;
  }
  /// Makes this rank's proposal of who is left. Throws if there is no memory for their team.
  void propose(int rank, const std::vector<int>& left, const host::team_options&) {
    team_state::propose(rank, left);
    of(rank).successor = shown(made_for(left));
  }
  void withdraw(int rank) { world_->take_back(reached(of(rank).successor)); }
  /// The new team as its rank `rank`. Once there is a decider.
  std::shared_ptr<team> successor(int rank, const host::team_options& options) const {
    const int ranks = static_cast<int>(proposed_by(decider()).size());
    std::byte* const place = reached(of(decider()).successor);
    auto taken = std::make_shared<team>(world_, place, ranks, rank, options);
    taken->follow(*this);
    return taken;
  }
  /// True if the rank may use others' memory though the team has failed: if its process goes on.
  bool may_disturb(int peer) { return !dead(peer) && (stopped(peer) || of(peer).folding.load()); }
  /// Ends the process of such a rank. True if it has ended.
  bool end(int peer) {
    return process_of(peer) != getpid() && watch(peer).end(std::chrono::seconds{2});
  }

  /// A rank that others could not wait for may use this process's shared memory again: none of it
  /// is handed out once more.
  void keep_memory() { world_->heap().keep(); }
  /// It does not any more.
  void release_memory() { world_->heap().release(); }

  /// Reaches others as ranks of `other` do, where the same ranks are connected already.
  void follow(const team& other) {
    if (!other.copies_once()) copy_through_region();
  }
  /// True if these ranks are more than the cores that one of them may use. It chooses algorithms,
  /// so all ranks have to say the same, wherever each is bound: once they are connected they do.
  bool crowds(const std::vector<int>& ranks) const {
    return std::any_of(ranks.begin(), ranks.end(), [&](int each) {
      return static_cast<int>(ranks.size()) > of(each).cores.load();
    });
  }
  /// True if so many threads, of all ranks together, are more than these cores.
  bool crowds(int threads) const {
    for (int rank = 0; rank < size(); ++rank)
      if (threads > of(rank).cores.load()) return true;
    return false;
  }
  /// The rank's process, if that is known before it has joined.
  void expect(int rank, std::int32_t process) { of(rank).process.store(process); }
  /// Says who this rank is, waits for the others, and finds out with them how they reach each
  /// other's memory, and whether they are more than the cores of one of them. Every rank calls it,
  /// before anything else. Throws if one does not come.
  void connect(bool single_copy) {
    seat& own = of(rank_);
    own.process.store(getpid());
    own.cores.store(usable_cores());
    own.sample = &sample_;
    own.begin.store(status_of(getpid()).begin);
    if (single_copy)
      let_others_copy();
    else
      copy_through_region();
    await_arrival(1);
    options_.crowded = crowds(size());
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
    now_and_then asks{std::chrono::milliseconds{10}};
    const auto began = patience::clock::now();
    for (int peer = 0; peer < size(); ++peer)
      while (of(peer).arrived.load() < stage) {
        if (!waiting.pass()) continue;
        const bool fails = failed();
        if (of(peer).arrived.load() >= stage) break;  // before the failure, which is a later one
        if (fails) throw_failure(rank_, coming_together);
        const bool late = waiting.expired();
        if (const int lost = asks.is_due(waiting.now()) ? find_lost(stage) : -1; lost >= 0)
          absent(lost, failure_kind::lost, " is gone, and", waiting.now() - began);
        if (late) absent(peer, failure_kind::timeout, "", waiting.limit());
      }
  }
  /// A rank that can't arrive any more, or −1. Asks the system.
  int find_lost(int stage) {
    for (int each = 0; each < size(); ++each)
      if ((of(each).left.load() || dead(each)) && of(each).arrived.load() < stage) return each;
    return -1;
  }
  [[noreturn]] void absent(int peer, failure_kind how, const std::string& what,
                           patience::clock::duration waited) {
    const auto time = std::chrono::duration_cast<std::chrono::milliseconds>(waited);
    fail(how, rank_,
         host::named(*this, peer) + what + " has not joined within " +
             std::to_string(time.count()) + " ms");
    throw_failure(rank_, coming_together);
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

  static constexpr const char* coming_together = "while the ranks come together";
  static constexpr std::uint64_t sample_of = 0x616c6c666f6c6421u;

  std::shared_ptr<shared_world> world_;
  host::team_options options_;
  int rank_;
  std::uint64_t sample_ = sample_of;
  call_speaker speaker_;
  std::vector<process_watch> watches_;
};

}  // namespace allfold::processes
