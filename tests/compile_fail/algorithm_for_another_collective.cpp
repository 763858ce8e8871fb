// expect: this is not an algorithm for all_reduce
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
using algorithm = allfold::ring;
#else
using algorithm = allfold::ring::reduce;
#endif

void add_up(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::all_reduce<algorithm>(world, data);
}
