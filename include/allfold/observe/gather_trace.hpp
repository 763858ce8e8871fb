// One trace of all ranks, wherever they run.
#pragma once

#include <allfold/collective/all_gather.hpp>
#include <allfold/collective/all_reduce.hpp>
#include <allfold/collective/gather.hpp>
#include <allfold/observe/trace.hpp>
#include <limits>

namespace allfold {

/// Writes the timelines of all ranks as one trace, as write_trace does, by rank 0 to the file
/// `path`; the others' `path` is not used. Every rank calls it with its own timelines, one for each
/// of its threads, and it needs no memory in common. Times count from the first span of all ranks,
/// whose clock must be the same: threads, or processes of one machine. Throws what collectives
/// throw, and on rank 0 allfold::error if the file can't be written.
template <communicator World>
void gather_trace(World& world, std::span<const timeline> own, const std::string& path,
                  std::source_location where = std::source_location::current()) {
  using clock = timeline::clock;
  const auto first = detail::earliest(own);
  std::int64_t origin = first ? static_cast<std::int64_t>(first->time_since_epoch().count())
                              : std::numeric_limits<std::int64_t>::max();
  all_reduce(world, std::span{&origin, 1}, minimum{}, where);
  const std::string mine = detail::trace_events(
      own, clock::time_point{clock::duration{static_cast<clock::rep>(origin)}});

  std::vector<std::size_t> sizes(static_cast<std::size_t>(world.size()));
  const std::size_t size = mine.size();
  all_gather(world, std::span{&size, 1}, sizes, where);
  std::string all(world.rank() == 0 ? detail::total_of(sizes) : 0, ' ');
  gather(world, mine, all, sizes, 0, where);
  if (world.rank() != 0) return;

  std::string events;
  std::size_t begin = 0;
  for (const std::size_t each : sizes) {
    if (each > 0 && !events.empty()) events += ",\n";
    events.append(all, begin, each);
    begin += each;
  }
  detail::output_file file{"rank 0, gather_trace at " + place_of(where), path};
  file.write(detail::trace_of(events));
  file.flush();
}

}  // namespace allfold
