// Every element type and every operation in the folding collectives on blocks, against a serial
// fold, bit for bit. Algorithms take turns.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "shapes.hpp"
#include "support/folding.hpp"

namespace {

using all_reduces = test::types<allfold::ring, allfold::direct, allfold::halving_doubling,
                                allfold::tree, allfold::primary<1>, allfold::primary<0>>;
using reduces = test::types<allfold::tree, allfold::direct, allfold::ring, allfold::primary<>>;
using reduce_scatters = test::types<allfold::ring, allfold::direct>;

/// Operation `Number`, round and round, or sum where that doesn't suit.
template <class T, std::size_t Number>
using operation = std::conditional_t<test::suits<test::picked<Number, test::every_operation>, T>,
                                     test::picked<Number, test::every_operation>, allfold::sum>;

}  // namespace

TEST_CASE("all_reduce of every type on blocks") {
  test::failures list;
  test::random_bits random{1};
  test::shapes_in_turn shapes;
  test::for_each_numbered(test::every_type{}, [&](auto element, auto number) {
    using T = typename decltype(element)::of;
    const auto what =
        test::all_reduce_by<test::picked<number, all_reduces>, T, operation<T, number>>();
    for (const bool in_place : {false, true}) {
      const test::shape& on = shapes.next(what.least_ranks);
      const std::size_t large = 2000 / sizeof(T) | 1u;
      carry_out({all_reduce_job(what, on.ranks, 2 + random.below(20), in_place, random),
                 all_reduce_job(what, on.ranks, large + random.below(large), in_place, random)},
                on, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE("reduce of every type on blocks") {
  test::failures list;
  test::random_bits random{2};
  test::shapes_in_turn shapes;
  test::for_each_numbered(test::every_type{}, [&](auto element, auto number) {
    using T = typename decltype(element)::of;
    const auto what = test::reduce_by<test::picked<number, reduces>, T, operation<T, number + 3>>();
    const test::shape& on = shapes.next(what.least_ranks);
    std::vector<test::job> jobs;
    for (const std::size_t count : {std::size_t{17}, 3000 / sizeof(T) | 1u})
      jobs.push_back(reduce_job(what, on.ranks, count, on.ranks - 1, count == 17, random));
    carry_out(jobs, on, list);
  });
  CHECK_NONE(list);
}

TEST_CASE("reduce_scatter of every type on blocks") {
  test::failures list;
  test::random_bits random{3};
  test::shapes_in_turn shapes;
  test::for_each_numbered(test::every_type{}, [&](auto element, auto number) {
    using T = typename decltype(element)::of;
    const auto what = test::reduce_scatter_by<test::picked<number, reduce_scatters>, T,
                                              operation<T, number + 6>>();
    const test::shape& on = shapes.next(what.least_ranks);
    carry_out({reduce_scatter_job(what, on.ranks, 3, true, random),
               reduce_scatter_job(what, on.ranks, 800 / sizeof(T) | 1u, false, random)},
              on, list);
  });
  CHECK_NONE(list);
}
