// all_reduce by every algorithm, on 1 to 9 ranks that share a GPU, against a serial fold on the
// host, bit for bit.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

// Awkward counts: with and without what fits a slot, whole packets and not.
TEST_CASE_TEMPLATE("all_reduce", algorithm, allfold::automatic, allfold::direct, allfold::ring,
                   allfold::tree, allfold::halving_doubling, allfold::primary<0>,
                   allfold::primary<1>) {
  test::failures list;
  test::try_all_reduce(test::all_reduce_by<algorithm, float, allfold::sum>(), list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("all_reduce of 16-bit elements", algorithm, allfold::direct, allfold::ring,
                   allfold::tree, allfold::halving_doubling) {
  test::failures list;
  test::try_all_reduce(test::all_reduce_by<algorithm, allfold::bfloat16, allfold::average>(), list);
  CHECK_NONE(list);
}
