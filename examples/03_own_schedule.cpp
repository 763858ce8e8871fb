// An own algorithm: arithmetic that says who folds what from whom, and when. The compiler proves
// it, and all_reduce runs it like the library's own.
#include <allfold/allfold.hpp>

#include <atomic>
#include <cstdio>
#include <vector>

using namespace allfold;

/// The ranks stand in a line. Step 0: each folds its own data to what the rank before it has, up to
/// the last one. Step 1: each copies the result from the rank behind it, down to the first one.
struct there_and_back {
  static constexpr collective kind = collective::all_reduce;
  static constexpr std::string_view name = "there_and_back";

  constexpr int chunks(int) const { return 1; }
  constexpr int steps(int) const { return 2; }
  constexpr step at(int rank, int size, int index) const {
    const bool is_last = rank == size - 1;
    step now;
    if (index == 0) {
      if (rank > 0) now.from(only(rank - 1), buffer::output).after(only(rank - 1), 0);
      now.from(only(rank), buffer::input).to(only(rank), buffer::output).complete(is_last);
    } else if (!is_last) {
      now.from(only(rank + 1), buffer::output).to(only(rank), buffer::output);
      now.after(only(rank + 1), 1);
    }
    return now;
  }
  /// The rank before still reads from this one, so it must have copied first.
  constexpr waits exit(int rank, int) const {
    waits list;
    if (rank > 0) list.push({only(rank - 1), 1});
    return list;
  }
};
static_assert(proven<there_and_back>);  // complete, free of deadlock and of races: 1 to 8 ranks

/// The same without the wait at the end. all_reduce<hasty> would not compile.
struct hasty : there_and_back {
  constexpr waits exit(int, int) const { return {}; }
};
static_assert(!prove<hasty>(4).sound());

int main() {
  constexpr proof found = prove<hasty>(4);
  std::printf("hasty, on 4 ranks: %s (rank %d in step %d, against rank %d)\n",
              name_of(found.what).data(), found.rank, found.index, found.peer);

  std::atomic<int> right{0};
  spawn(4, [&](auto& world) {
    std::vector<int> data(1000, world.rank() + 1);
    all_reduce<there_and_back>(world, data);
    if (data == std::vector<int>(1000, 10)) ++right;
  });
  std::printf("there_and_back: right on %d of 4 ranks\n", right.load());
  return right == 4 && found.what == flaw::touched_after_exit ? 0 : 1;
}
