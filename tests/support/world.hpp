// On which ranks the jobs are carried out: threads, unless a test executable asks for others; what
// their collectives take for operands, and where those lie.
#pragma once

#include "support/elements.hpp"

#if defined(ALLFOLD_TEST_ON_CUDA)
#include "support/cuda.cuh"
#elif defined(ALLFOLD_TEST_ON_BLOCKS)
#include "support/blocks.hpp"
#elif defined(ALLFOLD_TEST_ON_PROCESSES)
#include "support/processes.hpp"
#elif defined(ALLFOLD_TEST_ON_MPI)
#include "support/mpi.hpp"
#elif defined(ALLFOLD_TEST_ON_NODES)
#include "support/nodes.hpp"
#else
#include <allfold/launch/spawn.hpp>

namespace test {

using world = allfold::threads::communicator;

template <class Body>
void run_world(int ranks, Body body) {
  allfold::spawn(ranks, body, {.timeout = std::chrono::minutes{2}});
}

}  // namespace test
#endif

#ifndef ALLFOLD_TEST_ON_CUDA
#include <span>

namespace test {

/// Elements as collectives take them.
template <class T>
using operand = std::span<T>;

#ifndef ALLFOLD_TEST_ON_PROCESSES
/// Where ranks work on some bytes: right there.
class workplace {
 public:
  explicit workplace(bytes& image) : image_{image} {}
  std::byte* data() { return image_.data(); }
  /// Brings the bytes back, once what the rank has called is complete.
  void fetch(world&) {}

 private:
  bytes& image_;
};
#endif

}  // namespace test
#endif
