// What a replica remembers, as part of a saved state.
#pragma once

#include <allfold/data_parallel/data_parallel.hpp>
#include <allfold/data_parallel/state.hpp>

#include <concepts>
#include <source_location>
#include <string>
#include <type_traits>
#include <vector>

namespace allfold {

/// Puts what `replica` remembers into `writer`, in sections that begin with `name`: its steps, the
/// order of its buckets if they were rebuilt, and the state of its compression. Called between two
/// steps; by one rank, or by each for a state of its own where a compression keeps residuals. The
/// model's parameters are for the caller to save. Errors: usage_error, if `name` is no name or
/// taken already.
template <class Replica>
void put_replica(state_writer& writer, const std::string& name, Replica& replica,
                 std::source_location where = std::source_location::current()) {
  const replica_state now = replica.state();
  writer.put(name + ".steps", now.steps, where);
  writer.put(name + ".bucket_order", now.bucket_order, where);
  const auto put = [&](const std::string& piece, const auto& value) {
    writer.put(name + ".compression." + piece, value, where);
  };
  if constexpr (requires { replica.compression().visit_state(put); })
    replica.compression().visit_state(put);
}

/// Has `replica` go on as the one did that was put. Called by every rank after its replica was
/// made, of the same model and strategy. Errors: state_error, if a section is missing or of another
/// type; usage_error, if it is not of such a model.
template <class Replica>
void get_replica(const state_reader& reader, const std::string& name, Replica& replica,
                 std::source_location where = std::source_location::current()) {
  replica_state saved;
  saved.steps = reader.get<std::uint64_t>(name + ".steps", where);
  saved.bucket_order = reader.get_span<std::uint64_t>(name + ".bucket_order", where);
  replica.restore(saved, where);
  const auto get = [&](const std::string& piece, auto& value) {
    using type = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::integral<type>)
      value = reader.get<type>(name + ".compression." + piece, where);
    else
      value = reader.get_span<typename type::value_type>(name + ".compression." + piece, where);
  };
  if constexpr (requires { replica.compression().visit_state(get); })
    replica.compression().visit_state(get);
}

}  // namespace allfold
