// expect: input and output must have the same element type
#include <allfold/allfold.hpp>

#include <vector>

#ifdef POSITIVE_CONTROL
using wide = float;
#else
using wide = double;
#endif

void add_up(allfold::threads::communicator& world, std::vector<float>& input,
            std::vector<wide>& output) {
  allfold::all_reduce(world, input, output);
}
