// On which ranks the jobs are carried out: threads, unless a test executable asks for others.
#pragma once

#ifdef ALLFOLD_TEST_ON_BLOCKS
#include "support/blocks.hpp"
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
