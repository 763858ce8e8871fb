// Every folding collective on ranks that share memory as processes do, against a serial fold, bit
// for bit.
#include <allfold/half.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

using elements = test::types<float, allfold::half, test::pack24>;

}  // namespace

TEST_CASE_TEMPLATE("all_reduce on processes", algorithm, allfold::direct, allfold::ring,
                   allfold::tree, allfold::halving_doubling, allfold::primary<1>) {
  test::failures list;
  test::try_all_reduce_of<algorithm, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce on processes", algorithm, allfold::direct, allfold::ring, allfold::tree,
                   allfold::primary<>) {
  test::failures list;
  test::try_reduce_of<algorithm, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce_scatter on processes", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  test::try_reduce_scatter_of<algorithm, test::twice_and>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("a long all_reduce on processes", algorithm, allfold::direct, allfold::ring,
                   allfold::tree, allfold::halving_doubling, allfold::primary<>) {
  test::failures list;
  test::random_bits random{4};
  const auto what = test::all_reduce_by<algorithm, float, allfold::average>();
  for (const int ranks : {2, 3, 6})
    for (const bool in_place : {false, true})
      for (int turn = 0; turn < 2; ++turn)  // both ways of copying
        carry_out({test::all_reduce_job(what, ranks, 300'007, in_place, random)}, ranks, list);
  CHECK_NONE(list);
}
