#pragma once

#include "outcome.hpp"
#include "progress.hpp"

#include <cstddef>

namespace fashion_mnist {

// One rank's part in a configuration that trains an epoch at a time. So several can take turns, and
// what else the machine does in a while is not to the disadvantage of the one whose turn it is for
// long. What all ranks hold lives as long as the training. Every rank of it calls every function.
class contender {
 public:
  virtual ~contender() = default;
  virtual epoch_figures epoch(std::size_t number, progress_bar& progress) = 0;
  // All ranks' figures, and the curves that this one saw.
  virtual outcome finish() = 0;
};

}  // namespace fashion_mnist
