// expect: this algorithm has no reduce; take direct, ring, tree or primary<>
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
using algorithm = allfold::tree;
#else
using algorithm = allfold::halving_doubling;
#endif

void call(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::reduce<algorithm>(world, data);
}
