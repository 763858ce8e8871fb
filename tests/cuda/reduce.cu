// reduce and reduce_scatter by every algorithm, on 1 to 9 ranks that share a GPU, against a serial
// fold on the host, bit for bit.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

TEST_CASE_TEMPLATE("reduce", algorithm, allfold::automatic, allfold::direct, allfold::ring,
                   allfold::tree, allfold::primary<>) {
  test::failures list;
  test::try_reduce(test::reduce_by<algorithm, float, allfold::sum>(), list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce of other types", algorithm, allfold::direct, allfold::ring,
                   allfold::tree) {
  test::failures list;
  test::try_reduce(test::reduce_by<algorithm, allfold::half, allfold::average>(), list);
  test::try_reduce(test::reduce_by<algorithm, test::pack12, allfold::sum>(), list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce_scatter", algorithm, allfold::automatic, allfold::direct,
                   allfold::ring) {
  test::failures list;
  test::try_reduce_scatter(test::reduce_scatter_by<algorithm, double, allfold::sum>(), list);
  test::try_reduce_scatter(
      test::reduce_scatter_by<algorithm, allfold::bfloat16, allfold::average>(), list);
  CHECK_NONE(list);
}
