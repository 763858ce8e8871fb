// One rank's side of the protocol between ranks on the host: enter, wait, publish, leave.
#pragma once

#include <allfold/communicator/call.hpp>
#include <allfold/communicator/patience.hpp>
#include <allfold/communicator/post.hpp>
#include <allfold/communicator/traffic.hpp>
#include <allfold/communicator/witness.hpp>
#include <allfold/hash.hpp>
#include <cerrno>
#include <cstring>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

namespace allfold::host {

/// A rank's membership in a team: threads::team or processes::team. Used by that rank's thread
/// alone. Satisfies `host_port`.
///
/// Ordering: what a rank wrote before `enter` or `publish` is visible to another once that one's
/// wait for it returns. When a collective fails, no rank leaves it while another one may use its
/// memory; see `abandon`.
template <class Team>
class membership {
 public:
  membership(std::shared_ptr<Team> shared, int rank)
      : team_{std::move(shared)},
        rank_{rank},
        peers_(static_cast<std::size_t>(team_->size())),
        scratch_{*team_, rank},
        eyes_{*team_, rank} {}
  membership(const membership&) = delete;
  membership& operator=(const membership&) = delete;
  ~membership() {
    record& own = team_->of(rank_);
    const std::chrono::nanoseconds now = patience::clock::now().time_since_epoch();
    own.left_by_exception.store(std::uncaught_exceptions() > exceptions_);
    own.left_at.store(now.count());
    own.left.store(true);
  }

  int rank() const { return rank_; }
  int size() const { return team_->size(); }
  /// The number of the collective that this rank is in, or enters next.
  std::uint64_t number() const { return number_; }
  traffic moved_so_far() const { return traffic_->so_far(); }
  /// What this rank moves is counted as moved by that one of `whole` too.
  void count_for(const membership& whole) { traffic_->belong_to(whole.traffic_); }
  const std::shared_ptr<Team>& shared() const { return team_; }

  /// Enters a collective with a description of it, which must outlive the collective, and this
  /// rank's memory. Throws if the team has failed, or if a rank is lost or too late that should
  /// have completed an earlier collective.
  void enter(const call& mine, const operands& memory) {
    call_ = &mine;
    require_team();
    limit_lead();
    std::byte* const scratch = scratch_.of(memory.scratch_bytes);
    post& own = team_->post_of(rank_, number_);
    own.fingerprint = history_ = mixed(mine.fingerprint(), history_);
    // Whether a buffer is only read is the schedule's business, and proven.
    input_ = static_cast<std::byte*>(const_cast<void*>(memory.input));
    output_ = static_cast<std::byte*>(memory.output);
    own.input = team_->shown(input_);
    own.output = team_->shown(output_);
    own.scratch = team_->shown(scratch);
    if (memory.slot_bytes > 0) std::memcpy(own.slot, memory.input, memory.slot_bytes);
    peers_[at(rank_)] = {number_ + 1, &own};
    team_->say(rank_, number_, mine);  // late: what was just written is slow to copy
    own.stamp.store(number_ + 1, std::memory_order_release);
  }

  /// Leaves a collective that is complete after `turns` turns.
  void leave(std::uint64_t turns) {
    base_ += turns;
    traffic_->completed();
    team_->of(rank_).completed.store(++number_, std::memory_order_release);
  }

  /// Leaves a collective that has failed. The caller frees its memory next, so this waits for the
  /// ranks that are folding at this moment; from now on nobody begins to. Returns −1, or a rank
  /// that may use this one's memory again: one that was stopped in the midst of a fold, and is so
  /// for a second already; or one that does not come out of a fold within the time limit. Only a
  /// process is not waited for any longer, since memory of its own outlives this rank's.
  ///
  /// Whoever folds stores `folding` first and loads the team's failure then; whoever abandons has
  /// stored the failure first and loads `folding` then. All four are sequentially consistent, so at
  /// least one of two such ranks sees the other.
  int abandon() {
    int disturber = -1;
    for (int peer = 0; peer < size(); ++peer) {
      patience waiting{team_->options().crowded, team_->options().timeout};
      patience stopped{true, std::min<patience::clock::duration>(waiting.limit(), grace)};
      while (team_->of(peer).folding.load()) {
        if (!waiting.pass()) continue;
        if constexpr (Team::dies_alone) {
          if (team_->dead(peer)) break;  // it folds no more
          if (!waiting.expired() && !(team_->stopped(peer) && stopped.expired())) continue;
          disturber = peer;
          break;
        }
      }
    }
    return disturber;
  }

  /// Fails the team on behalf of this rank and throws.
  [[noreturn]] void fail(failure_kind kind, std::string text) {
    team_->fail(kind, rank_, std::move(text));
    team_->throw_failure(rank_, describe_mine());
  }

  // What an execution needs; see host_port.

  std::byte* address(int peer, buffer where) {
    if (peer == rank_) {  // its own post is on its way to the others
      if (where == buffer::input) return input_;
      if (where == buffer::output) return output_;
    }
    post& its = contact(peer);
    return where == buffer::slot ? its.slot : team_->reached(shown_by(its, where));
  }
  void wait_entered(int peer) { contact(peer); }

  // Where ranks are processes: memory that only its owner can address; see far_port.

  /// True if `address(peer, where)` means something in that rank's process only.
  bool is_far(int peer, buffer where) requires Team::dies_alone {
    return peer != rank_ && where != buffer::slot && Team::is_far(shown_by(contact(peer), where));
  }
  /// Copies `bytes` bytes from or to such memory. Throws if the team has failed meanwhile: this
  /// process may have been stopped for so long that the memory is another's.
  void fetch(int peer, const void* from, void* to, std::size_t bytes) requires Team::dies_alone {
    require_team();
    require_copied(peer, bytes, team_->copy_from(peer, from, to, bytes));
  }
  void store(int peer, void* to, const void* from, std::size_t bytes) requires Team::dies_alone {
    require_team();
    require_copied(peer, bytes, team_->copy_to(peer, to, from, bytes));
  }
  /// This rank's own memory for copies of such elements; good until the next call.
  std::byte* copies(std::size_t bytes) requires Team::dies_alone { return scratch_.own(bytes); }

  void wait_progress(int peer, std::uint64_t turns) {
    contact(peer);
    const std::uint64_t target = base_ + turns;
    std::atomic<std::uint64_t>& progress = team_->of(peer).progress;
    wait(peer, [&] { return progress.load(std::memory_order_acquire) >= target; });
  }
  void publish(std::uint64_t turns) {
    team_->of(rank_).progress.store(base_ + turns, std::memory_order_release);
  }
  /// Between these two this rank may use the others' memory. Throws if the team has failed.
  void begin_folding() {
    team_->of(rank_).folding.store(true);
    if (!team_->failed()) return;
    end_folding();
    team_->throw_failure(rank_, describe_mine());
  }
  void end_folding() { team_->of(rank_).folding.store(false, std::memory_order_release); }
  void moved(std::uint64_t read, std::uint64_t written) { traffic_->moved(read, written); }

 private:
  /// How long a process that is stopped in a fold is waited for.
  static constexpr std::chrono::seconds grace{1};

  struct peer_state {
    std::uint64_t met = 0;  ///< number + 1 of the last collective in which it was found to agree
    post* said = nullptr;
  };

  void require_team() const {
    if (team_->failed()) [[unlikely]]
      team_->throw_failure(rank_, describe_mine());
  }
  static std::size_t at(int rank) { return static_cast<std::size_t>(rank); }

  static std::byte* shown_by(const post& its, buffer where) {
    return where == buffer::input ? its.input : where == buffer::output ? its.output : its.scratch;
  }

  /// The peer's post for this collective, once it has entered; checked when first met.
  post& contact(int peer) {
    peer_state& its = peers_[at(peer)];
    if (its.met != number_ + 1) {
      post& said = team_->post_of(peer, number_);
      wait(peer, [&] { return said.stamp.load(std::memory_order_acquire) >= number_ + 1; });
      if (said.fingerprint != history_)
        fail(failure_kind::mismatch, witnessed().disagreement(peer, number_));
      its = {number_ + 1, &said};
    }
    return *its.said;
  }

  /// Waits until no rank is too far behind, and finds out if those have called something else that
  /// were not met since: under many schedules a rank never waits for some of the others.
  void limit_lead() {
    if (number_ % longest_lead != 0 || number_ < longest_lead) return;
    const std::uint64_t last = number_ - longest_lead;
    for (int peer = 0; peer < size(); ++peer) {
      // A rank that was met in a collective had completed those before it, and called the same.
      if (peer == rank_ || peers_[at(peer)].met > last + 1) continue;
      std::atomic<std::uint64_t>& completed = team_->of(peer).completed;
      wait(peer, [&] { return completed.load(std::memory_order_acquire) > last; });
      if (team_->post_of(peer, last).fingerprint != team_->post_of(rank_, last).fingerprint)
        fail(failure_kind::mismatch, witnessed().disagreement(peer, last));
    }
  }

  void require_copied(int peer, std::size_t bytes, std::size_t copied) {
    if (copied == bytes) [[likely]]
      return;
    const int number = errno;
    eyes_.look_at(peer, patience::clock::now());
    // A process that is ending has no memory any more a little before it has ended.
    patience ending{true, number == ESRCH ? grace : patience::clock::duration{}};
    while (!team_->dead(peer) && !ending.expired()) ending.pass();
    if (team_->dead(peer)) fail(failure_kind::lost, witnessed().absence(peer, peer));
    fail(failure_kind::lost, witnessed().failed_copy(peer, copied, bytes, std::strerror(number)));
  }

  template <class Ready>
  void wait(int peer, Ready ready) {
    if (!ready()) [[unlikely]]
      wait_long(peer, ready);
  }

  template <class Ready>
  [[gnu::noinline]] void wait_long(int peer, Ready ready) {
    patience waiting{team_->options().crowded, team_->options().timeout};
    while (!ready())
      if (waiting.pass()) return wait_watchfully(peer, ready, waiting);
  }

  /// The same when it has taken a while: now this rank says for whom it waits, and looks what
  /// becomes of that one and of the others. While the late one is in a collective of another level,
  /// it is for those to speak who wait for it there: this wait lasts longer then, for twice the
  /// time limit at most.
  template <class Ready>
  [[gnu::noinline]] void wait_watchfully(int peer, Ready ready, patience& waiting) {
    const waiting_sign sign{team_->of(rank_).waits_for, peer};
    bool begins = true;
    do {
      if (team_->failed()) {
        if (ready()) return;  // it came before the failure, which is another collective's
        team_->throw_failure(rank_, describe_mine());
      }
      bool late = waiting.expired();
      eyes_.look(peer, waiting.now(), std::exchange(begins, false));
      if (late && eyes_.late_is_elsewhere()) late = !waiting.put_off();
      const int lost = eyes_.find_lost(peer, number_);
      if (lost >= 0 && !ready()) fail(failure_kind::lost, witnessed().absence(lost, peer));
      if (late) fail(failure_kind::timeout, witnessed().lateness(peer, waiting.limit()));
      waiting.pass();
    } while (!ready());
  }
  class waiting_sign {
   public:
    waiting_sign(std::atomic<std::int32_t>& place, int peer) : place_{place} {
      place_.store(peer + 1, std::memory_order_relaxed);
    }
    waiting_sign(const waiting_sign&) = delete;
    waiting_sign& operator=(const waiting_sign&) = delete;
    ~waiting_sign() { place_.store(0, std::memory_order_relaxed); }

   private:
    std::atomic<std::int32_t>& place_;
  };

  std::string describe_mine() const { return describe(*call_, number_); }
  witness<Team> witnessed() const { return {*team_, eyes_, rank_, number_, describe_mine()}; }

  std::shared_ptr<Team> team_;
  int rank_;
  std::uint64_t number_ = 0;    ///< of the current collective
  std::uint64_t base_ = 0;      ///< progress before the current collective, the same on all ranks
  std::uint64_t history_ = 0;   ///< the fingerprint of all calls so far
  const call* call_ = nullptr;  ///< the current collective's
  std::byte* input_ = nullptr;  ///< likewise
  std::byte* output_ = nullptr;
  std::vector<peer_state> peers_;
  typename Team::scratch scratch_;
  std::shared_ptr<traffic_counter> traffic_ = std::make_shared<traffic_counter>();
  lookout<Team> eyes_;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace allfold::host
