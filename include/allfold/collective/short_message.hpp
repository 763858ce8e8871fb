// Which messages go through slots, by which schedule, and what of them lies there.
#pragma once

#include <allfold/schedule/partition.hpp>
#include <allfold/schedule/tuning.hpp>
#include <cstddef>

namespace allfold::detail {

/// How many elements a rank puts into its slot. `count` is what the call says.
template <class Schedule>
std::size_t given(const Schedule& plan, const partition& parts, int rank, std::size_t count) {
  if constexpr (!reads_slots<Schedule>) return 0;
  if constexpr (Schedule::kind == collective::broadcast || Schedule::kind == collective::scatter)
    if (rank != root_of(plan)) return 0;
  if constexpr (Schedule::kind == collective::reduce_scatter ||
                Schedule::kind == collective::scatter || Schedule::kind == collective::all_to_all)
    return count * static_cast<std::size_t>(parts.chunks());  // of every rank's share
  return count;
}

/// True if a communicator sends short messages of a collective through slots.
template <class World>
constexpr bool has_slots_for(collective what) {
  if constexpr (requires { World::has_slots_for(what); })
    return World::has_slots_for(what);
  else
    return what == collective::all_reduce;
}
/// True if a schedule may be taken by another on such a communicator, for elements of type T: where
/// ranks give at most `longest_small` bytes each.
template <class T, class World, class Schedule>
inline constexpr bool has_small = [] {
  if constexpr (requires { typename Schedule::small; })
    return has_slots_for<World>(Schedule::kind) && alignof(T) <= 16;
  else
    return false;
}();
template <class World>
std::size_t longest_small(const World& world, collective what) {
  if constexpr (requires { world.small_bytes_of(what); })
    return world.small_bytes_of(what);
  else
    return World::small_bytes;
}
/// That other schedule.
template <class Schedule>
constexpr auto small_of(const Schedule& plan) {
  return made_like<typename Schedule::small>(plan);
}

}  // namespace allfold::detail
