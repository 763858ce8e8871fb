// The communicators that the benchmark is compiled for. To add one: name its type here, instantiate
// fold_*.cpp, moves.cpp and plans.cpp for it, and write what starts its ranks (see threads.cpp).
#pragma once

#include <allfold/communicator/threads.hpp>

namespace bench {

using threads_world = allfold::threads::communicator;

}  // namespace bench
