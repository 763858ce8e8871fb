// expect: the result is written here, so it can't be const
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
using elements = std::vector<float>;
#else
using elements = const std::vector<float>;
#endif

void add_up(allfold::threads::communicator& world, elements& data) {
  allfold::all_reduce(world, data);
}
