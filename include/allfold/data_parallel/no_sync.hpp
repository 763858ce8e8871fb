// Guards within which backward passes reduce nothing.
#pragma once

#include <utility>

namespace allfold::detail {

/// Counts the guards that live.
class accumulation {
 public:
  explicit accumulation(int& depth) : depth_{&depth} { ++depth; }
  accumulation(accumulation&& other) noexcept : depth_{std::exchange(other.depth_, nullptr)} {}
  accumulation& operator=(accumulation&&) = delete;
  ~accumulation() {
    if (depth_ != nullptr) --*depth_;
  }

 private:
  int* depth_;
};

}  // namespace allfold::detail
