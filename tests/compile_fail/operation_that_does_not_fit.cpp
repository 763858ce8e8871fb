// expect: the operation must be callable with two elements and return one
#include <allfold/allfold.hpp>

#include <vector>

struct pixel {
  float red, green, blue;
};

struct brightest {
#ifdef POSITIVE_CONTROL
  pixel operator()(const pixel& a, const pixel& b) const { return a.red < b.red ? b : a; }
#else
  pixel operator()(const pixel& a) const { return a; }
#endif
};

void fold(allfold::threads::communicator& world, std::vector<pixel>& data) {
  allfold::all_reduce(world, data, brightest{});
}
