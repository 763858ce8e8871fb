// expect: this range lies in host memory, but the communicator's ranks are devices
#include <allfold/allfold.hpp>

#include <vector>

struct gpus : allfold::threads::communicator {
#ifndef POSITIVE_CONTROL
  static constexpr allfold::memory_space space = allfold::memory_space::device;
#endif
};

void add_up(gpus& world, std::vector<float>& data) { allfold::all_reduce(world, data); }
