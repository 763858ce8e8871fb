// expect: this algorithm has no barrier; take direct or dissemination
#include <allfold/allfold.hpp>

#ifdef POSITIVE_CONTROL
using algorithm = allfold::dissemination;
#else
using algorithm = allfold::ring;
#endif

void call(allfold::threads::communicator& world) { allfold::barrier<algorithm>(world); }
