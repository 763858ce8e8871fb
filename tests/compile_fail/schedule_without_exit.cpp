// expect: a schedule has exit\(rank, size\), const, which returns waits
#include <allfold/allfold.hpp>

#include <vector>

struct one_folds {  // rank 0 for all
  static constexpr allfold::collective kind = allfold::collective::all_reduce;
  static constexpr std::string_view name = "one_folds";

  constexpr int chunks(int) const { return 1; }
  constexpr int steps(int) const { return 1; }
  constexpr allfold::step at(int rank, int size, int) const {
    if (rank != 0) return {};
    const allfold::ranks all = allfold::every(size);
    return allfold::step{}
        .from(all, allfold::buffer::input)
        .to(all, allfold::buffer::output)
        .after(all, allfold::entered)
        .complete();
  }
#ifdef POSITIVE_CONTROL
  constexpr allfold::waits exit(int rank, int) const {
    allfold::waits list;
    if (rank != 0) list.push({allfold::only(0), 0});
    return list;
  }
#endif
};

void add_up(allfold::threads::communicator& world, std::vector<float>& data) {
  allfold::all_reduce<one_folds>(world, data);
}
