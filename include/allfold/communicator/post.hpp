// What the ranks of a team on the host show each other, and the kinds of failure they tell of.
#pragma once

#include <allfold/error.hpp>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace allfold::host {

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
  /// Where a report of all ranks is written when the team fails: "stderr", or a file that it is
  /// added to. Empty: where the environment's ALLFOLD_REPORT says, if it does.
  std::string report{};
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

/// What a rank says when the ranks of a failed team agree on who is left; see shrink.hpp.
enum class survival : std::uint8_t { not_asked, claimed, given_up };

/// What a rank has done. Only the rank itself writes; the counters only grow.
struct alignas(128) record {
  std::atomic<std::uint64_t> progress{0};   ///< turns, over all collectives
  std::atomic<std::uint64_t> completed{0};  ///< collectives
  std::atomic<bool> folding{false};         ///< may be using other ranks' memory
  std::atomic<bool> left{false};
  std::atomic<bool> left_by_exception{false};
  /// When it left: nanoseconds of steady_clock, which all processes of a machine share.
  std::atomic<std::int64_t> left_at{0};
  /// 1 + the rank that it has been waiting for for a while, or 0.
  std::atomic<std::int32_t> waits_for{0};
  /// In how many collectives of other levels it is, where these ranks are one level of several.
  std::atomic<std::int32_t> elsewhere{0};
  std::atomic<survival> survives{survival::not_asked};
  std::atomic<bool> arrived_after{false};  ///< in this team, out of one that has failed
};

/// The kinds of failure that all ranks are told of.
enum class failure_kind : std::uint8_t { mismatch, timeout, lost, misuse };

/// Throws the error of a kind.
[[noreturn]] inline void throw_as(failure_kind kind, const std::string& text) {
  switch (kind) {
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

/// The memory that a rank brings to a collective. Null where it has none.
struct operands {
  const void* input = nullptr;
  void* output = nullptr;
  std::size_t slot_bytes = 0;     ///< of the input, to be copied into the slot
  std::size_t scratch_bytes = 0;  ///< to be provided by the library
};

}  // namespace allfold::host
