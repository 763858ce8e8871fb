// Operands that lie elsewhere, copied into the shared memory and back.
#pragma once

#include <algorithm>
#include <allfold/communicator/post.hpp>
#include <allfold/communicator/shared_world.hpp>
#include <allfold/schedule/partition.hpp>
#include <allfold/schedule/proof.hpp>
#include <array>
#include <atomic>
#include <cstring>

namespace allfold::processes {

/// A place in shared memory that grows when it has to.
class shared_scratch {
 public:
  explicit shared_scratch(std::shared_ptr<shared_world> world) : world_{std::move(world)} {}
  shared_scratch(const shared_scratch&) = delete;
  shared_scratch& operator=(const shared_scratch&) = delete;
  ~shared_scratch() {
    if (place_ != nullptr) world_->heap().give_back(place_);
  }
  /// At least `bytes` bytes. What was there is lost if it grows.
  std::byte* of(std::size_t bytes) {
    if (bytes <= size_) return place_;
    if (place_ != nullptr) world_->heap().give_back(std::exchange(place_, nullptr));
    size_ = 0;
    place_ = world_->heap().take(bytes);
    size_ = bytes;
    return place_;
  }

 private:
  std::shared_ptr<shared_world> world_;
  std::byte* place_ = nullptr;
  std::size_t size_ = 0;
};

/// One rank's copies of its operands, where all ranks can reach them.
class region_copies {
 public:
  explicit region_copies(const std::shared_ptr<shared_world>& world)
      : world_{world}, input_{world}, output_{world} {}

  /// Copies what the rank gives, if it lies elsewhere, and returns the operands to be used instead.
  /// `size`: bytes of an element.
  host::operands bring(const host::operands& given, const operand_counts& counts,
                       std::size_t size) {
    const std::size_t in = counts.input * size, out = counts.output * size;
    const bool stays = given.input == given.output && in > 0 && out > 0;
    host::operands used = given;
    if (in > 0 && !world_->region().holds(given.input)) {
      std::byte* const place = input_.of(stays ? std::max(in, out) : in);
      std::memcpy(place, given.input, in);
      used.input = place;
      if (stays) used.output = place;
    }
    if (out > 0 && !stays && !world_->region().holds(given.output)) used.output = output_.of(out);
    return used;
  }
  /// Copies what the rank has got to where it wants it.
  static void bring_back(const host::operands& given, const host::operands& used,
                         const operand_counts& counts, std::size_t size) {
    if (used.output != given.output && counts.output > 0)
      std::memcpy(given.output, used.output, counts.output * size);
  }

 private:
  std::shared_ptr<shared_world> world_;
  shared_scratch input_, output_;
};

/// Bytes of a section of a message, which fit a core's cache together with their copies.
inline constexpr std::size_t section_bytes = std::size_t{256} << 10;

/// True if a message may be reduced or sent section by section, each like a message of its own, and
/// still become the same bits: elements are folded in the order of ranks, whatever chunk they are
/// in.
template <class Schedule>
bool has_sections(const Schedule& plan, int size) {
  if constexpr (Schedule::kind == collective::broadcast) {
    return true;
  } else if constexpr (Schedule::kind == collective::all_reduce) {
    constexpr int most = 64;
    if (size > most) return false;
    static std::array<std::atomic<char>, most + 1> known{};  // 0: not yet asked
    std::atomic<char>& answer = known[static_cast<std::size_t>(size)];
    if (answer.load() == 0) answer.store(prove(plan, size).rank_ordered ? 'y' : 'n');
    return answer.load() == 'y';
  } else {
    return false;
  }
}

}  // namespace allfold::processes
