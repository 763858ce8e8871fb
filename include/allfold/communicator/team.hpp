// What the ranks of one process share: who is where, who has entered what, and what went wrong.
#pragma once

#include <allfold/communicator/call.hpp>
#include <allfold/communicator/cores.hpp>
#include <allfold/communicator/kept_calls.hpp>
#include <allfold/communicator/post.hpp>
#include <allfold/communicator/report.hpp>
#include <allfold/communicator/traffic.hpp>
#include <bit>
#include <memory>
#include <mutex>
#include <vector>

namespace allfold::threads {

using host::failure_kind;
using host::longest_lead;
using host::operands;
using host::post;
using host::record;
using host::slot_bytes;
using host::team_options;
using host::traffic;
using host::window;

/// The state that the ranks of a team share.
class team {
 public:
  team(int size, team_options options)
      : options_{options},
        size_{size},
        posts_{std::make_unique<post[]>(static_cast<std::size_t>(size) * window)},
        seats_{std::make_unique<seat[]>(static_cast<std::size_t>(size))} {}

  int size() const { return size_; }
  const team_options& options() const { return options_; }
  /// True if these ranks are more than the cores that the process may use.
  static bool crowds(const std::vector<int>& ranks) {
    return static_cast<int>(ranks.size()) > usable_cores();
  }
  post& post_of(int rank, std::uint64_t number) {
    return posts_[static_cast<std::size_t>(rank) * window + number % window];
  }
  record& of(int rank) { return seats_[static_cast<std::size_t>(rank)]; }

  /// What a rank says of the collective that it enters; published with its post's stamp.
  void say(int rank, std::uint64_t number, const call& it) {
    seats_[static_cast<std::size_t>(rank)].said.keep(number, packed(it));
  }
  /// The same in words, of a rank's last calls; of others only the number. Any thread may call.
  std::string words_of(int rank, std::uint64_t number) const {
    kept_calls::words said;
    if (!seats_[static_cast<std::size_t>(rank)].said.read(number, said))
      return "collective #" + std::to_string(number);
    return describe(unpacked(said), number);
  }

  /// True once the team has failed; nothing works from then on. Sequentially consistent, as
  /// `membership::abandon` needs it.
  bool failed() const { return failed_.load(); }

  /// Records why the team fails, unless it has failed before, and then reports what all ranks do if
  /// that is wanted. `origin` is the rank that saw it. Any thread may call.
  void fail(failure_kind kind, int origin, std::string text) {
    if (failed()) return;
    host::failure_report report{*this};
    {
      const std::lock_guard lock{mutex_};
      if (failed_.load(std::memory_order_relaxed)) return;
      kind_ = kind;
      origin_ = origin;
      text_ = std::move(text);
      failed_.store(true);
    }
    report.write(text_);  // which does not change any more
  }
  /// The failure's text; empty if there is none.
  std::string text() {
    const std::lock_guard lock{mutex_};
    return text_;
  }
  /// The rank that saw the failure first, or −1.
  int origin() {
    const std::lock_guard lock{mutex_};
    return origin_;
  }
  /// Throws the team's failure as seen by a rank in the call `mine`.
  [[noreturn]] void throw_failure(int rank, const std::string& mine) {
    const std::lock_guard lock{mutex_};
    host::throw_as(kind_, "allfold: rank " + std::to_string(rank) + ", " + mine + ": " + text_);
  }

  // How ranks reach each other's memory: they share it.

  static constexpr bool dies_alone = false;
  static bool dead(int) { return false; }
  std::string state_of(int) const { return {}; }
  static std::byte* shown(std::byte* own) { return own; }
  static std::byte* reached(std::byte* shown) { return shown; }

  // ---- those that are left after a failure; see shrink.hpp ----

  /// The rank whose proposal counts, or −1.
  int decider() const { return decider_.load(); }
  /// Makes a rank's proposal count, unless another's does.
  bool decide(int rank) {
    int none = -1;
    return decider_.compare_exchange_strong(none, rank);
  }
  /// Makes a rank's proposal of who is left.
  void propose(int rank, const std::vector<int>& left, const team_options& options) {
    seat& own = seats_[static_cast<std::size_t>(rank)];
    own.proposed = left;
    own.successor = std::make_shared<team>(static_cast<int>(left.size()), options);
  }
  void withdraw(int rank) { seats_[static_cast<std::size_t>(rank)].successor.reset(); }
  const std::vector<int>& proposed_by(int rank) const {
    return seats_[static_cast<std::size_t>(rank)].proposed;
  }
  /// The new team. Once there is a decider.
  std::shared_ptr<team> successor(int, const team_options&) const {
    return seats_[static_cast<std::size_t>(decider())].successor;
  }

  /// A rank's scratch memory.
  class scratch {
   public:
    scratch(team&, int) {}
    std::byte* of(std::size_t bytes) {
      const std::size_t needed = (bytes + sizeof(line) - 1) / sizeof(line);
      if (needed > lines_.size()) lines_.resize(needed);
      return reinterpret_cast<std::byte*>(lines_.data());
    }

   private:
    struct alignas(64) line {
      std::byte bytes[64];
    };
    std::vector<line> lines_;
  };

 private:
  using kept_calls = host::kept_calls<5>;
  struct seat : record {
    kept_calls said;
    std::vector<int> proposed;  ///< as those that are left
    std::shared_ptr<team> successor;
  };

  static kept_calls::words packed(const call& it) {
    static_assert(sizeof(it.where) == sizeof(std::uint64_t));
    return {reinterpret_cast<std::uintptr_t>(it.kind), it.count,
            static_cast<std::uint32_t>(it.root) | std::uint64_t{it.in_place} << 32, it.counts_hash,
            std::bit_cast<std::uint64_t>(it.where)};
  }
  static call unpacked(const kept_calls::words& it) {
    return {.kind = reinterpret_cast<const call_kind*>(it[0]),
            .count = it[1],
            .root = static_cast<std::int32_t>(static_cast<std::uint32_t>(it[2])),
            .counts_hash = it[3],
            .in_place = (it[2] >> 32) != 0,
            .where = std::bit_cast<std::source_location>(it[4])};
  }

  team_options options_;
  int size_;
  std::unique_ptr<post[]> posts_;
  std::unique_ptr<seat[]> seats_;
  std::atomic<bool> failed_{false};
  std::atomic<int> decider_{-1};
  std::mutex mutex_;
  failure_kind kind_ = failure_kind::lost;
  int origin_ = -1;
  std::string text_;
};

}  // namespace allfold::threads
