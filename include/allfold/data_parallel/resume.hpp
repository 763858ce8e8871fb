// A sampler's position as part of a saved state.
#pragma once

#include <allfold/data_parallel/sampler.hpp>
#include <allfold/data_parallel/state.hpp>

#include <cstdint>
#include <source_location>
#include <string>

namespace allfold {

/// Puts `position` into `writer`, as six sections that begin with `name`: "<name>.epoch" and so on.
/// Called by the rank that saves. Errors: usage_error, if `name` is no name or taken already.
inline void put_position(state_writer& writer, const std::string& name,
                         const sampler_position& position,
                         std::source_location where = std::source_location::current()) {
  writer.put(name + ".epoch", position.epoch, where);
  writer.put(name + ".samples_done", position.samples_done, where);
  writer.put(name + ".total", position.total, where);
  writer.put(name + ".seed", position.seed, where);
  writer.put(name + ".shuffle", position.shuffle, where);
  writer.put(name + ".drop_last", position.drop_last, where);
}

/// The position that put_position has put. Called by every rank, all of the same state. Whether it
/// fits the sampler is for distributed_sampler::batches_from to say. Errors: state_error, if a
/// section is missing or of another type.
inline sampler_position get_position(const state_reader& reader, const std::string& name,
                                     std::source_location where = std::source_location::current()) {
  sampler_position position;
  position.epoch = reader.get<std::uint64_t>(name + ".epoch", where);
  position.samples_done = reader.get<std::uint64_t>(name + ".samples_done", where);
  position.total = reader.get<std::uint64_t>(name + ".total", where);
  position.seed = reader.get<std::uint64_t>(name + ".seed", where);
  position.shuffle = reader.get<bool>(name + ".shuffle", where);
  position.drop_last = reader.get<bool>(name + ".drop_last", where);
  return position;
}

}  // namespace allfold
