// expect: minimum needs an element type with <
#include <allfold/allfold.hpp>

#include <vector>

struct pixel {
  float red, green, blue;

#ifdef POSITIVE_CONTROL
  friend bool operator<(const pixel& a, const pixel& b) { return a.red < b.red; }
#endif
};

void fold(allfold::threads::communicator& world, std::vector<pixel>& data) {
  allfold::all_reduce(world, data, allfold::minimum{});
}
