// expect: this algorithm has no reduce_scatter; take direct or ring
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
using algorithm = allfold::ring;
#else
using algorithm = allfold::tree;
#endif

void call(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::reduce_scatter<algorithm>(world, data);
}
