// With ALLFOLD_PROVE every schedule's header has the compiler prove what it defines.
#define ALLFOLD_PROVE

#include "schedules.hpp"

#include <doctest/doctest.h>

namespace {

using namespace allfold;

// What the headers say of themselves, said here too, so that none can be forgotten there unseen.
static_assert(proven<one_shot>);
static_assert(proven<direct>);
static_assert(proven<direct::reduce>);
static_assert(proven<direct::broadcast>);
static_assert(proven<direct::reduce_scatter>);
static_assert(proven<direct::all_gather>);
static_assert(proven<direct::scatter>);
static_assert(proven<direct::gather>);
static_assert(proven<direct::all_to_all>);
static_assert(proven<direct::barrier>);
static_assert(proven<ring>);
static_assert(proven<ring::reduce>);
static_assert(proven<ring::broadcast>);
static_assert(proven<ring::reduce_scatter>);
static_assert(proven<ring::all_gather>);
static_assert(proven<tree>);
static_assert(proven<tree::reduce>);
static_assert(proven<tree::broadcast>);
static_assert(proven<halving_doubling>);
static_assert(proven<primary<0>>);
static_assert(proven<primary<2>>);
static_assert(proven<primary<0>::reduce>);
static_assert(proven<primary<2>::reduce>);
static_assert(proven<dissemination::barrier>);

// A value of a schedule is proven as well as its type.
static_assert(prove(direct::all_to_all{.in_place = true}, 4).sound());
static_assert(prove(tree::reduce{.root = 2}, 5, 2).sound());

struct hasty_ring : ring {
  constexpr waits exit(int, int) const { return {}; }
};
struct stuck_ring : ring {
  constexpr step at(int rank, int size, int index) const {
    return ring::at(rank, size, index).after(only(wrap(rank - 1, size)), index);
  }
};
struct deaf_barrier : direct::barrier {
  constexpr waits exit(int, int) const { return {}; }
};
static_assert(!proven<hasty_ring>);
static_assert(prove<hasty_ring>(4).what == flaw::touched_after_exit);
static_assert(!proven<stuck_ring>);
static_assert(prove<stuck_ring>(4).what == flaw::circular_wait);
static_assert(!proven<deaf_barrier>);
static_assert(prove<deaf_barrier>(4).what == flaw::not_synchronizing);

template <class Schedule>
constexpr proof compiled[] = {prove<Schedule>(1), prove<Schedule>(2), prove<Schedule>(3),
                              prove<Schedule>(6)};

}  // namespace

TEST_CASE_TEMPLATE("the compiler and the running program find the same", Schedule, tree, hasty_ring,
                   stuck_ring, deaf_barrier) {
  int i = 0;
  for (const int size : {1, 2, 3, 6}) {
    INFO(title<Schedule>(size));
    const proof found = prove<Schedule>(size);
    const proof& before = compiled<Schedule>[i++];
    CHECK(verdict(found) == verdict(before));
    CHECK(found.complete == before.complete);
    CHECK(found.deadlock_free == before.deadlock_free);
    CHECK(found.race_free == before.race_free);
    CHECK(found.rank_ordered == before.rank_ordered);
  }
}
