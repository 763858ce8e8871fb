// expect: this algorithm has no all_to_all; take direct
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
using algorithm = allfold::direct;
#else
using algorithm = allfold::ring;
#endif

void call(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::all_to_all<algorithm>(world, data);
}
