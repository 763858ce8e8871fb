// How processes that were started by others come to have one memory mapped. Linux.
#pragma once

#include <algorithm>
#include <allfold/communicator/shared_region.hpp>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string_view>
#include <vector>

namespace allfold::processes {

/// One rank's side of it. Rank 0 makes the memory and the others attach; what the system refuses to
/// one of them, all are told of.
template <class Exchange>
class region_meeting {
 public:
  /// `exchange(mine, size, all)` gives every rank all ranks' bytes, by rank.
  region_meeting(int rank, int size, Exchange& exchange)
      : exchange_{exchange}, rank_{rank}, cards_(static_cast<std::size_t>(size)) {}

  /// The memory, of `bytes` bytes, which rank 0 calls `begin(data)` for first. Every rank calls it,
  /// with the same `arena_bytes`. Throws mismatch_error or process_error, on every rank.
  template <class Begin>
  shared_region meet(std::size_t bytes, std::size_t arena_bytes, Begin begin) {
    mine_.process = getpid();
    mine_.arena_bytes = arena_bytes;
    if (rank_ == 0) attempt([&] { return shared_region::create(bytes); });
    if (region_) {
      begin(region_->data());
      mine_.descriptor = region_->descriptor();
    }
    tell();
    for (std::size_t peer = 0; peer < cards_.size(); ++peer)
      if (cards_[peer].arena_bytes != arena_bytes)
        throw mismatch_error{who() + " has arena_bytes " + std::to_string(arena_bytes) + ", rank " +
                             std::to_string(peer) + " has " +
                             std::to_string(cards_[peer].arena_bytes)};
    const card first = cards_.front();
    if (rank_ != 0)
      attempt([&] { return shared_region::attach(first.process, first.descriptor, bytes); });
    tell();  // all have it
    region_->close_descriptor();
    return std::move(*region_);
  }
  /// The process of a rank, once it has been met.
  std::int32_t process_of(int rank) const { return cards_[static_cast<std::size_t>(rank)].process; }

 private:
  struct card {
    std::int32_t process = 0, descriptor = -1;
    std::uint64_t arena_bytes = 0;
    char refused[96] = {};  ///< by the system, and why; empty if nothing is
  };

  std::string who() const { return "allfold: rank " + std::to_string(rank_); }
  template <class Get>
  void attempt(Get get) {
    try {
      region_.emplace(get());
    } catch (const process_error& thrown) {
      std::string_view text = thrown.what();
      text.remove_prefix(std::min(text.size(), std::string_view{"allfold: "}.size()));
      std::snprintf(mine_.refused, sizeof mine_.refused, "%s", text.data());
    }
  }
  void tell() {
    exchange_(&mine_, sizeof mine_, cards_.data());
    for (std::size_t peer = 0; peer < cards_.size(); ++peer)
      if (cards_[peer].refused[0] != '\0')
        throw process_error{who() + ": the system refuses rank " + std::to_string(peer) + ": " +
                            cards_[peer].refused};
  }

  Exchange& exchange_;
  int rank_;
  card mine_;
  std::vector<card> cards_;
  std::optional<shared_region> region_;
};

}  // namespace allfold::processes
