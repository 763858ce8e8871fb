// expect: the primary's rank can't be negative
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
constexpr int root = 1;
#else
constexpr int root = -1;
#endif

void add_up(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::all_reduce<allfold::primary<root>>(world, data);
}
