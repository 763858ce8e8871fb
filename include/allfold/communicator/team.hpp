// What the ranks of one process share: who is where, who has entered what, and what went wrong.
#pragma once

#include <allfold/communicator/call.hpp>
#include <allfold/error.hpp>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace allfold::threads {

/// How many collectives' posts are kept: what a rank says of one, and its slot, stay readable until
/// all ranks have completed it, and a few more, so that a disagreement is told of where it began.
inline constexpr std::uint64_t window = 8;
/// No rank is further ahead of another than this many collectives.
inline constexpr std::uint64_t longest_lead = 2;

/// Bytes of a message that fit a slot.
inline constexpr std::size_t slot_bytes = 65 * 64 - 48;

/// How a team waits.
struct team_options {
  /// The longest wait for another rank within one collective; afterwards a timeout_error.
  std::chrono::steady_clock::duration timeout = std::chrono::minutes{10};
  /// More ranks than cores: yield early.
  bool crowded = false;
};

/// What a rank shows of a collective that it has entered. `stamp` is written last and makes the
/// rest visible: number + 1 of the collective. The slot begins in the same cache line, so a short
/// message arrives together with the news of it.
struct alignas(64) post {
  std::atomic<std::uint64_t> stamp{0};
  std::uint64_t fingerprint = 0;  ///< of this call and all before it
  std::byte* input = nullptr;
  std::byte* output = nullptr;
  std::byte* scratch = nullptr;
  std::uint64_t unused = 0;
  std::byte slot[slot_bytes];
};
static_assert(sizeof(post) == 65 * 64);  // an odd number of cache lines spreads over cache sets

/// What a rank has done. Only the rank itself writes; the counters only grow.
struct alignas(128) record {
  std::atomic<std::uint64_t> progress{0};   ///< turns, over all collectives
  std::atomic<std::uint64_t> completed{0};  ///< collectives
  std::atomic<bool> folding{false};         ///< may be using other ranks' memory
  std::atomic<bool> left{false};
  call said[window];  ///< the last collectives in full, for messages; published with the stamp
};

/// The kinds of failure that all ranks are told of.
enum class failure_kind : std::uint8_t { mismatch, timeout, lost, misuse };

/// The state that the ranks of a team share.
class team {
 public:
  team(int size, team_options options)
      : options_{options},
        size_{size},
        posts_{std::make_unique<post[]>(static_cast<std::size_t>(size) * window)},
        records_{std::make_unique<record[]>(static_cast<std::size_t>(size))} {}

  int size() const { return size_; }
  const team_options& options() const { return options_; }
  post& post_of(int rank, std::uint64_t number) {
    return posts_[static_cast<std::size_t>(rank) * window + number % window];
  }
  record& of(int rank) { return records_[static_cast<std::size_t>(rank)]; }

  /// True once the team has failed; nothing works from then on. Sequentially consistent, as
  /// `membership::abandon` needs it.
  bool failed() const { return failed_.load(); }

  /// Records why the team fails, unless it has failed before. `origin` is the rank that saw it.
  void fail(failure_kind kind, int origin, std::string text) {
    const std::lock_guard lock{mutex_};
    if (failed_.load(std::memory_order_relaxed)) return;
    kind_ = kind;
    origin_ = origin;
    text_ = std::move(text);
    failed_.store(true);
  }
  /// The rank that saw the failure first, or −1.
  int origin() {
    const std::lock_guard lock{mutex_};
    return origin_;
  }
  /// Throws the team's failure as seen by a rank in the call `mine`.
  [[noreturn]] void throw_failure(int rank, const std::string& mine) {
    const std::lock_guard lock{mutex_};
    const std::string text = "allfold: rank " + std::to_string(rank) + ", " + mine + ": " + text_;
    switch (kind_) {
      case failure_kind::mismatch:
        throw mismatch_error{text};
      case failure_kind::timeout:
        throw timeout_error{text};
      case failure_kind::lost:
        throw rank_lost_error{text};
      case failure_kind::misuse:
        break;
    }
    throw usage_error{text};
  }

 private:
  team_options options_;
  int size_;
  std::unique_ptr<post[]> posts_;
  std::unique_ptr<record[]> records_;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  failure_kind kind_ = failure_kind::lost;
  int origin_ = -1;
  std::string text_;
};

}  // namespace allfold::threads
