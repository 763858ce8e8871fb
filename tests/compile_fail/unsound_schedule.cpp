// expect: this schedule is not sound for 1 to 8 ranks
#include <allfold/allfold.hpp>

#include <vector>

struct my_direct : allfold::direct {
#ifndef POSITIVE_CONTROL
  constexpr allfold::waits exit(int, int) const { return {}; }  // while others still read
#endif
};

void add_up(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::all_reduce<my_direct>(world, data);
}
