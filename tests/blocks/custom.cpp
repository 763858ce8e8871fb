// A user's own schedule on blocks, whose ranks are idle in many turns.
#include <allfold/schedule/step.hpp>

#include <doctest/doctest.h>

#include "shapes.hpp"
#include "support/folding.hpp"

namespace {

/// Rank 0 folds each piece, the others copy it; and a step in which nobody does anything, which
/// lags so far behind that at first only every third turn and the one before are taken.
struct unhurried {
  static constexpr allfold::collective kind = allfold::collective::all_reduce;
  static constexpr std::string_view name = "unhurried";
  static constexpr std::size_t piece_bytes = 128;

  constexpr int chunks(int) const { return 1; }
  constexpr int steps(int) const { return 3; }
  constexpr int lag(int, int index) const { return index == 1 ? 6 : 0; }
  constexpr allfold::step at(int rank, int size, int index) const {
    using namespace allfold;
    if (rank == 0 && index == 0)
      return step{}
          .from(every(size), buffer::input)
          .to(only(0), buffer::output)
          .after(every(size), entered)
          .complete();
    if (rank > 0 && index == 2)
      return step{}.from(only(0), buffer::output).to(only(rank), buffer::output).after(only(0), 0);
    return {};
  }
  constexpr allfold::waits exit(int rank, int size) const {
    using namespace allfold;
    waits list;
    if (rank == 0)
      list.push({every_other(0, size), 2});
    else
      list.push({only(0), 0});
    return list;
  }
};

}  // namespace

TEST_CASE("idle turns between others") {
  test::failures list;
  test::random_bits random{1};
  const auto what = test::all_reduce_by<unhurried, float, allfold::sum>();
  for (const test::shape& on : {test::shape{2, {24, 1}}, {4, {3, 2}}, {3, {1, 1}}}) {
    std::vector<test::job> jobs;
    for (int i = 0; i < 12; ++i)
      jobs.push_back(all_reduce_job(what, on.ranks, 1200, i % 2 == 0, random));
    carry_out(jobs, on, list);
  }
  CHECK_NONE(list);
}
