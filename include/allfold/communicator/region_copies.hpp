// Operands that lie elsewhere, copied into the shared memory for one collective.
#pragma once

#include <algorithm>
#include <allfold/communicator/post.hpp>
#include <allfold/communicator/shared_world.hpp>
#include <allfold/schedule/partition.hpp>
#include <cstring>

namespace allfold::processes {

/// The operands of one call where all ranks can reach them. What a rank gives is copied when this
/// is made, what it gets when `bring_back` is called. `size`: bytes of an element.
class region_copies {
 public:
  region_copies(shared_world& world, const host::operands& given, const operand_counts& counts,
                std::size_t size)
      : heap_{world.heap()}, given_{given}, used_{given} {
    const std::size_t in = counts.input * size, out = counts.output * size;
    const bool stays = given.input == given.output && in > 0 && out > 0;
    if (in > 0 && !world.region().holds(given.input)) {
      input_ = heap_.take(stays ? std::max(in, out) : in);
      std::memcpy(input_, given.input, in);
      used_.input = input_;
      if (stays) used_.output = input_;
    }
    if (out > 0 && !world.region().holds(given.output)) {
      output_bytes_ = out;
      if (!stays) used_.output = output_ = heap_.take(out);
    }
  }
  region_copies(const region_copies&) = delete;
  region_copies& operator=(const region_copies&) = delete;
  ~region_copies() {
    if (input_ != nullptr) heap_.give_back(input_);
    if (output_ != nullptr) heap_.give_back(output_);
  }

  const host::operands& operands() const { return used_; }
  void bring_back() const {
    if (output_bytes_ > 0) std::memcpy(given_.output, used_.output, output_bytes_);
  }

 private:
  shared_heap& heap_;
  host::operands given_, used_;
  std::byte* input_ = nullptr;
  std::byte* output_ = nullptr;
  std::size_t output_bytes_ = 0;
};

}  // namespace allfold::processes
