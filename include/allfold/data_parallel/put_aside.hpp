// Copies of gradients that are to be as they were.
#pragma once

#include <allfold/elements.hpp>
#include <cstring>
#include <vector>

namespace allfold::detail {

/// Elements in host memory, and what they were when they were added.
template <class Elements>
class put_aside {
 public:
  void add(Elements original) {
    if constexpr (range_access<Elements>::space == memory_space::host)
      copies_.push_back({original, {original.begin(), original.end()}});
  }
  void restore() const {
    for (const copy& each : copies_)
      std::memcpy(each.original.data(), each.elements.data(), each.original.size_bytes());
  }

 private:
  struct copy {
    Elements original;
    std::vector<element_of<Elements>> elements;
  };
  std::vector<copy> copies_;
};

}  // namespace allfold::detail
