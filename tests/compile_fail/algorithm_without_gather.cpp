// expect: this algorithm has no gather; take direct
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
using algorithm = allfold::direct;
#else
using algorithm = allfold::ring;
#endif

void call(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::gather<algorithm>(world, data, data);
}
