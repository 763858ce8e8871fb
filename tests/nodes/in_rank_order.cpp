// direct on several nodes gives the bits that it gives on one: against a serial fold in rank order.
#include <allfold/half.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/primary.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

using allfold::direct;
using allfold::sum;
using elements = test::types<float, allfold::half, allfold::bfloat16, test::pack24>;

template <class T, class Operation>
void try_all(test::failures& list) {
  test::try_all_reduce(test::all_reduce_by<direct, T, Operation>(), list);
  test::try_reduce(test::reduce_by<direct, T, Operation>(), list);
  test::try_reduce_scatter(test::reduce_scatter_by<direct, T, Operation>(), list);
}

}  // namespace

TEST_CASE("every fold in rank order on every shape of 1 to 9 ranks") {
  test::failures list;
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    for (int turn = 0; turn < 2; ++turn) try_all<T, sum>(list);
  });
  CHECK_NONE(list);
}

TEST_CASE("an average is divided once, and a user's fold finished once") {
  test::failures list;
  try_all<float, allfold::average>(list);
  try_all<allfold::half, allfold::average>(list);
  try_all<int, allfold::average>(list);
  try_all<float, test::sum_doubled>(list);
  CHECK_NONE(list);
}

TEST_CASE("what does not commute is folded in rank order") {
  test::failures list;
  try_all<unsigned, test::twice_and>(list);
  try_all<test::ends, test::join_ends>(list);
  try_all<test::matrix, test::multiply_matrices>(list);
  CHECK_NONE(list);
}

TEST_CASE("primary folds in rank order on several nodes as well") {
  test::failures list;
  test::try_reduce(test::reduce_by<allfold::primary<>, float, sum>(), list);
  test::try_all_reduce(test::all_reduce_by<allfold::primary<>, float, sum>(), list);
  CHECK_NONE(list);
}

TEST_CASE("many pieces are on their way from node to node") {
  test::failures list;
  test::random_bits random{5};
  for (const test::shape its : {test::shape{2, 1}, {3, 1}, {4, 2}, {2, 3}, {5, 1}}) {
    test::current_shape = its;
    const int ranks = its.nodes * its.lanes;
    test::for_each(test::types<float, allfold::bfloat16>{}, [&](auto element) {
      using T = typename decltype(element)::of;
      for (const bool in_place : {false, true}) {
        carry_out(
            {all_reduce_job(test::all_reduce_by<direct, T, sum>(), ranks, 20'011, in_place, random),
             reduce_job(test::reduce_by<direct, T, sum>(), ranks, 7'001, ranks / 2, in_place,
                        random)},
            ranks, list);
      }
    });
  }
  test::current_shape.reset();
  CHECK_NONE(list);
}
