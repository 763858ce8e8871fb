// What a device is told of a collective, and which part of it each block does.
#pragma once

#include <allfold/execution/device_rest.hpp>
#include <allfold/execution/device_shot.hpp>

namespace allfold::device {

/// One collective of the ranks `members[0 … here)` of the group, in `lanes` lanes. The first
/// `resting` of them rest and have a block each; the others' lanes follow, the ranks taking turns.
template <class Schedule, class Operation>
struct launch {
  task<Schedule, Operation> work;
  group all;
  int lanes;
  int here;
  int resting;
  member members[max_ranks];
};

/// Adds a rank to those that a launch runs. There may be max_ranks at most.
template <class Schedule, class Operation>
constexpr void seat(launch<Schedule, Operation>& call, const member& rank) {
  member& last = call.members[call.here++];
  if (has_resting_ranks<Schedule> && rests(call.work.plan, rank.rank, call.all.size)) {
    last = call.members[call.resting];
    call.members[call.resting++] = rank;
  } else {
    last = rank;
  }
}

/// How many blocks a launch needs. They wait for each other, so a device must hold all at once.
template <class Schedule, class Operation>
constexpr int blocks_of(const launch<Schedule, Operation>& call) {
  return call.resting + (call.here - call.resting) * call.lanes;
}

/// Runs one lane of a collective, by whichever of the two ways its schedule asks for. Called by
/// all threads of a block.
template <class T, memory_access Access, class Schedule, class Operation, lane Lane>
ALLFOLD_HOST_DEVICE bool run_lane(Lane& threads, const task<Schedule, Operation>& work,
                                  const group& all, const place& here) {
  if constexpr (reads_slots<Schedule>) {
    static_assert(Schedule::kind == collective::all_reduce && Schedule{}.steps(2) == 1 &&
                      Schedule{}.chunks(2) == 1,
                  "allfold: on a device slots carry all-reduces in one step only");
    lane_shot<T, Schedule, Operation, Access> shot{
        work, work.parts.of(0, 1, 0).count, all, here, threads.index(), threads.count()};
    return shot([&](bool failed) { return threads.any(failed); });
  } else {
    return lane_run<T, Schedule, Operation, Lane, Access>{threads, work, all, here}();
  }
}

/// Runs block `block` of a launch. Called by all threads of the block; false if the collective has
/// failed.
template <class T, memory_access Access, class Schedule, class Operation, lane Lane>
ALLFOLD_HOST_DEVICE bool run_block(Lane& threads, const launch<Schedule, Operation>& call,
                                   int block) {
  if constexpr (has_resting_ranks<Schedule>)
    if (block < call.resting)
      return rank_rest<Schedule, Operation, Lane, Access>{
          threads, call.work, call.all, {0, call.lanes, call.members[block]}}();
  const int working = call.here - call.resting;
  const int turn = block - call.resting;
  const place here{turn / working, call.lanes, call.members[call.resting + turn % working]};
  return run_lane<T, Access>(threads, call.work, call.all, here);
}

}  // namespace allfold::device
