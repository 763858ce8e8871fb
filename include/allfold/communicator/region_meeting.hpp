// How processes that were started by others come to have one memory mapped. Linux.
#pragma once

#include <algorithm>
#include <allfold/communicator/process_watch.hpp>
#include <allfold/communicator/shared_region.hpp>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

namespace allfold::processes {

/// How ranks reach operands that do not lie in memory from `communicator::allocate`.
enum class copying : std::uint8_t {
  automatic,  ///< in one copy if all ranks may, else through the shared memory
  once,       ///< in one copy from process to process; a process_error where that is not allowed
  through_region  ///< each rank copies its own into the shared memory, and the result back
};

/// In words.
inline const char* name_of(copying how) {
  return how == copying::automatic ? "copying::automatic"
         : how == copying::once    ? "copying::once"
                                   : "copying::through_region";
}

/// What a rank says of itself to the others before they have memory in common.
struct meeting_card {
  region_place memory;      ///< of rank 0's, what it shares; of others the process alone
  char numbering[64] = {};  ///< see numbering_of_processes
  char host[64] = {};
  char refused[96] = {};   ///< by the system, and why; empty if nothing is
  bool elsewhere = false;  ///< what rank 0 shares is not to be found here
  processes::copying copying = copying::automatic;
  std::uint64_t arena_bytes = 0;
};

/// One rank's side of it. Rank 0 makes the memory and the others attach; what goes wrong on one of
/// them, all are told of.
template <class Exchange>
class region_meeting {
 public:
  /// `exchange(mine, size, all)` gives every rank all ranks' bytes, by rank.
  region_meeting(int rank, int size, Exchange& exchange)
      : exchange_{exchange}, rank_{rank}, cards_(static_cast<std::size_t>(size)) {}

  /// The memory, of `bytes` bytes, which rank 0 calls `begin(data)` for first; the first eight of
  /// them are a random number. Every rank calls it, with the same `arena_bytes` and `how`. Throws,
  /// on every rank, mismatch_error if these differ, usage_error naming a rank that is on another
  /// machine than rank 0 or in another namespace of processes, process_error where the system
  /// refuses.
  template <class Begin>
  shared_region meet(std::size_t bytes, std::size_t arena_bytes, copying how, Begin begin) {
    say_who();
    mine_.arena_bytes = arena_bytes;
    mine_.copying = how;
    if (rank_ == 0) attempt([&] { share(bytes, begin); });
    tell();
    require_alike();
    if (rank_ != 0) attempt([&] { attach(); });
    tell();  // all have it
    region_->close_descriptor();
    return std::move(*region_);
  }
  /// The process of a rank, once it has been met.
  std::int32_t process_of(int rank) const { return of(rank).memory.process; }

 private:
  const meeting_card& of(int rank) const { return cards_[static_cast<std::size_t>(rank)]; }
  std::string who() const { return "allfold: rank " + std::to_string(rank_); }
  /// "rank 2 (process 4711 of host node1)".
  std::string named(int rank) const {
    return "rank " + std::to_string(rank) + " (process " + std::to_string(process_of(rank)) +
           " of host " + of(rank).host + ")";
  }

  void say_who() {
    mine_.memory.process = getpid();
    if (gethostname(mine_.host, sizeof mine_.host - 1) != 0) mine_.host[0] = '\0';
    std::snprintf(mine_.numbering, sizeof mine_.numbering, "%s", numbering_of_processes().c_str());
  }
  template <class Begin>
  void share(std::size_t bytes, Begin begin) {
    region_.emplace(shared_region::create(bytes));
    begin(region_->data());
    std::random_device source;
    mine_.memory = region_->place(std::uint64_t{source()} << 32 | source());
  }
  void attach() {
    const bool same = std::string_view{of(0).numbering} == mine_.numbering;
    if (auto found = same ? shared_region::attach(of(0).memory) : std::nullopt)
      region_.emplace(std::move(*found));
    mine_.elsewhere = !region_;
  }
  template <class Step>
  void attempt(Step step) {
    try {
      step();
    } catch (const process_error& thrown) {
      std::string_view text = thrown.what();
      text.remove_prefix(std::min(text.size(), std::string_view{"allfold: "}.size()));
      std::snprintf(mine_.refused, sizeof mine_.refused, "%s", text.data());
    }
  }
  void tell() {
    exchange_(&mine_, sizeof mine_, cards_.data());
    for (int peer = 0; peer < static_cast<int>(cards_.size()); ++peer) {
      if (of(peer).refused[0] != '\0')
        throw process_error{who() + ": the system refuses rank " + std::to_string(peer) + ": " +
                            of(peer).refused};
      if (of(peer).elsewhere)
        throw usage_error{who() + ": " + named(peer) + " does not find the memory of " + named(0) +
                          ": ranks of a processes::communicator are on one machine, and in one "
                          "namespace of processes"};
    }
  }
  void require_alike() const {
    const auto require = [&](int peer, bool alike, const std::string& mine,
                             const std::string& its) {
      if (!alike)
        throw mismatch_error{who() + " has " + mine + ", rank " + std::to_string(peer) + " has " +
                             its};
    };
    for (int peer = 0; peer < static_cast<int>(cards_.size()); ++peer) {
      const meeting_card& its = of(peer);
      require(peer, its.arena_bytes == mine_.arena_bytes,
              "arena_bytes " + std::to_string(mine_.arena_bytes), std::to_string(its.arena_bytes));
      require(peer, its.copying == mine_.copying, name_of(mine_.copying), name_of(its.copying));
    }
  }

  Exchange& exchange_;
  int rank_;
  meeting_card mine_;
  std::vector<meeting_card> cards_;
  std::optional<shared_region> region_;
};

}  // namespace allfold::processes
