// expect: takes an algorithm for all_reduce
#include <allfold/allfold.hpp>

#ifdef POSITIVE_CONTROL
using algorithm = allfold::ring;
#else
using algorithm = allfold::ring::reduce;  // not for all ranks
#endif

bool steps(allfold::threads::communicator& world) {
  return allfold::distributed<algorithm>::steps(world);
}
