// Every operation on real numbers with every folding collective and algorithm, against a serial
// fold.
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

using elements = test::types<float>;

}  // namespace

TEST_CASE_TEMPLATE("all_reduce of float with every operation", algorithm, allfold::direct,
                   allfold::ring, allfold::tree, allfold::halving_doubling, allfold::primary<>) {
  test::failures list;
  test::for_each(test::every_operation{}, [&](auto operation) {
    test::try_all_reduce_of<algorithm, typename decltype(operation)::of>(elements{}, list);
  });
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce of float with every operation", algorithm, allfold::direct,
                   allfold::ring, allfold::tree, allfold::primary<>) {
  test::failures list;
  test::for_each(test::every_operation{}, [&](auto operation) {
    test::try_reduce_of<algorithm, typename decltype(operation)::of>(elements{}, list);
  });
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce_scatter of float with every operation", algorithm, allfold::direct,
                   allfold::ring) {
  test::failures list;
  test::for_each(test::every_operation{}, [&](auto operation) {
    test::try_reduce_scatter_of<algorithm, typename decltype(operation)::of>(elements{}, list);
  });
  CHECK_NONE(list);
}
