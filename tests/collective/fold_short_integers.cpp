// Integers that are promoted to int: every folding collective against a serial fold, bit for bit.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

using elements = test::short_integer_types;

}  // namespace

TEST_CASE_TEMPLATE("all_reduce of short integers", algorithm, allfold::direct, allfold::ring,
                   allfold::tree, allfold::halving_doubling, allfold::primary<0>,
                   allfold::primary<1>) {
  test::failures list;
  test::try_all_reduce_of<algorithm, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce of short integers", algorithm, allfold::direct, allfold::ring,
                   allfold::tree, allfold::primary<>) {
  test::failures list;
  test::try_reduce_of<algorithm, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce_scatter of short integers", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  test::try_reduce_scatter_of<algorithm, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}
