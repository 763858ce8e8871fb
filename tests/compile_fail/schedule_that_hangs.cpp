// expect: this schedule is not sound for 1 to 8 ranks
#include <allfold/allfold.hpp>

#include <vector>

struct my_ring : allfold::ring {
#ifndef POSITIVE_CONTROL
  constexpr allfold::step at(int rank, int size, int index) const {
    allfold::step it = allfold::ring::at(rank, size, index);
    return size > 1 ? it.after(allfold::only((rank + 1) % size), index) : it;  // in a circle
  }
#endif
};

void add_up(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::all_reduce<my_ring>(world, data);
}
