// Every operation on integers in several orders, against a serial fold.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

using elements = test::types<int>;

}  // namespace

TEST_CASE_TEMPLATE("all_reduce of int with every operation", algorithm, allfold::direct,
                   allfold::ring, allfold::tree) {
  test::failures list;
  test::for_each(test::every_operation{}, [&](auto operation) {
    test::try_all_reduce_of<algorithm, typename decltype(operation)::of>(elements{}, list);
  });
  CHECK_NONE(list);
}
