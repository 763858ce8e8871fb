// A schedule for one number of ranks written out step by step, so that a test can change it.
#pragma once

#include <allfold/schedule/proof.hpp>

#include <vector>

struct script {
  allfold::collective kind{};
  bool reads_slots = false;
  bool in_place = false;  ///< all_to_all only: whether it is made for in place
  int size = 1;
  int root = 0;
  int chunks = 1;
  int scratch_chunks = 0;
  std::vector<int> lags;                          ///< [index]
  std::vector<std::vector<allfold::step>> steps;  ///< [rank][index]
  std::vector<allfold::waits> exits;              ///< [rank]

  int step_count() const { return static_cast<int>(lags.size()); }
};

/// Writes out what a schedule says for `size` ranks.
template <class Schedule>
script script_of(const Schedule& plan, int size) {
  script it;
  it.kind = Schedule::kind;
  it.reads_slots = allfold::reads_slots<Schedule>;
  if constexpr (requires { plan.in_place; }) it.in_place = plan.in_place;
  it.size = size;
  it.root = root_of(plan);
  it.chunks = plan.chunks(size);
  it.scratch_chunks = scratch_chunks_of(plan, size);
  for (int index = 0; index < plan.steps(size); ++index)
    it.lags.push_back(lag_of(plan, size, index));
  for (int rank = 0; rank < size; ++rank) {
    it.steps.emplace_back();
    for (int index = 0; index < plan.steps(size); ++index)
      it.steps.back().push_back(plan.at(rank, size, index));
    it.exits.push_back(plan.exit(rank, size));
  }
  return it;
}

/// What allfold::prove and allfold::fold_order find of the schedule.
allfold::proof prove(const script& it, int pieces = 1);
allfold::fold_values fold_order(const script& it);
