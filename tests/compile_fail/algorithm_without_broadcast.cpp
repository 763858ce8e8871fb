// expect: this algorithm has no broadcast; take direct, ring or tree
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
using algorithm = allfold::tree;
#else
using algorithm = allfold::halving_doubling;
#endif

void call(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::broadcast<algorithm>(world, data);
}
