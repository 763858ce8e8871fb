#include "script.hpp"

#include "schedules.hpp"

#include <doctest/doctest.h>

#include <string_view>

namespace {

using namespace allfold;

/// A script as a schedule.
template <collective Kind, bool ReadsSlots = false>
struct scripted {
  static constexpr collective kind = Kind;
  static constexpr std::string_view name = "scripted";
  static constexpr bool reads_slots = ReadsSlots;

  const script* it;
  int root = it->root;

  int chunks(int) const { return it->chunks; }
  int steps(int) const { return it->step_count(); }
  int scratch_chunks(int) const { return it->scratch_chunks; }
  int lag(int, int index) const { return it->lags[static_cast<std::size_t>(index)]; }
  step at(int rank, int, int index) const {
    return it->steps[static_cast<std::size_t>(rank)][static_cast<std::size_t>(index)];
  }
  waits exit(int rank, int) const { return it->exits[static_cast<std::size_t>(rank)]; }
};

/// The same for all_to_all, which is made either for in place or for out of place.
template <bool ReadsSlots>
struct scripted_all_to_all : scripted<collective::all_to_all, ReadsSlots> {
  bool in_place = this->it->in_place;
};

/// Calls `use` with the script as a schedule of its kind.
template <bool ReadsSlots, class Use>
auto with_schedule_of(const script& it, Use use) {
  switch (it.kind) {
    case collective::all_reduce:
      return use(scripted<collective::all_reduce, ReadsSlots>{&it});
    case collective::reduce:
      return use(scripted<collective::reduce, ReadsSlots>{&it});
    case collective::broadcast:
      return use(scripted<collective::broadcast, ReadsSlots>{&it});
    case collective::reduce_scatter:
      return use(scripted<collective::reduce_scatter, ReadsSlots>{&it});
    case collective::all_gather:
      return use(scripted<collective::all_gather, ReadsSlots>{&it});
    case collective::scatter:
      return use(scripted<collective::scatter, ReadsSlots>{&it});
    case collective::gather:
      return use(scripted<collective::gather, ReadsSlots>{&it});
    case collective::all_to_all:
      return use(scripted_all_to_all<ReadsSlots>{{&it}});
    case collective::barrier:
      break;
  }
  return use(scripted<collective::barrier>{&it});
}
template <class Use>
auto with_schedule(const script& it, Use use) {
  return it.reads_slots ? with_schedule_of<true>(it, use) : with_schedule_of<false>(it, use);
}

}  // namespace

allfold::proof prove(const script& it, int pieces) {
  return with_schedule(it, [&](auto plan) { return allfold::prove(plan, it.size, pieces); });
}

allfold::fold_values fold_order(const script& it) {
  return with_schedule(it, [&](auto plan) { return allfold::fold_order(plan, it.size); });
}

namespace {

template <class Schedule>
void check_script_of(const Schedule& plan, int size) {
  INFO(title<Schedule>(size));
  const script it = script_of(plan, size);
  CHECK(it.chunks == plan.chunks(size));
  CHECK(it.scratch_chunks == scratch_chunks_of(plan, size));
  CHECK(it.root == root_of(plan));
  CHECK(it.step_count() == plan.steps(size));
  for (int index = 0; index < plan.steps(size); ++index)
    CHECK(it.lags[static_cast<std::size_t>(index)] == lag_of(plan, size, index));
  const proof found = prove(it, 2);
  const proof original = allfold::prove(plan, size, 2);
  CHECK(verdict(found) == verdict(original));
  CHECK(found.rank_ordered == original.rank_ordered);
}

}  // namespace

TEST_CASE("a script says what its schedule says, and is as sound") {
  for (int size = 3; size <= 8; ++size) {
    check_script_of(tree{}, size);
    check_script_of(tree::reduce{.root = 2}, size);
    check_script_of(direct::all_to_all{.in_place = true}, size);
    check_script_of(one_shot::reduce{.root = 1}, size);
    check_script_of(one_shot::all_to_all{.in_place = true}, size);
  }
}
