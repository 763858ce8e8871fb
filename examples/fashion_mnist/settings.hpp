#pragma once

#include <cstddef>
#include <cstdint>

namespace fashion_mnist {

// What all configurations of one run have in common.
struct settings {
  int ranks = 2;
  std::size_t epochs = 5;
  std::size_t batch = 160;  // of all ranks together, so that every configuration trains alike
  double rate = 0.08;       // at the first step; falls to 0
  double momentum = 0.9;
  std::uint64_t seed = 1;
};

}  // namespace fashion_mnist
