// expect: this communicator has no engine of its own; native is not for it
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
using algorithm = allfold::ring;
#else
using algorithm = allfold::native;
#endif

void add_up(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::all_reduce<algorithm>(world, data);
}
