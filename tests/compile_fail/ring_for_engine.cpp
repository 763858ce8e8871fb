// expect: this communicator has an engine of its own; take native or automatic
#include <allfold/allfold.hpp>

#include <vector>

struct engine {
  static constexpr allfold::memory_space space = allfold::memory_space::host;
  static constexpr bool has_engine = true;
  int rank() const;
  int size() const;
  void abort(const std::string&);
  template <allfold::collective What, class T, class Operation>
  void native(const allfold::engine_call<What, T>&, const Operation&);
};

#ifdef POSITIVE_CONTROL
using algorithm = allfold::native;
#else
using algorithm = allfold::ring;
#endif

void add_up(engine& world, std::vector<float>& data) {
  allfold::all_reduce<algorithm>(world, data);
}
