// expect: satisf.*contiguous
#include <allfold/allfold.hpp>

#include <list>
#include <vector>

#ifdef POSITIVE_CONTROL
using elements = std::vector<float>;
#else
using elements = std::list<float>;
#endif

void add_up(allfold::threads::communicator& world, elements& data) {
  allfold::all_reduce(world, data);
}
