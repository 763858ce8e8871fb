// What a replica remembers, as part of a saved state.
#pragma once

#include <allfold/data_parallel/data_parallel.hpp>
#include <allfold/data_parallel/state.hpp>

#include <concepts>
#include <cstdint>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace allfold {

/// What becomes of a compression's state, which is one rank's among so many.
enum class residuals : std::uint8_t {
  own,     ///< this rank goes on with its own; a state_error if it is another's, or of other ranks
  dropped  ///< the compression begins anew: for a training that goes on with other ranks
};

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
  bool keeps = false;
  const auto put = [&](const std::string& piece, const auto& value) {
    writer.put(name + ".compression." + piece, value, where);
    keeps = true;
  };
  if constexpr (requires { replica.compression().visit_state(put); })
    replica.compression().visit_state(put);
  if (!keeps) return;
  writer.put(name + ".rank", static_cast<std::uint64_t>(replica.rank()), where);
  writer.put(name + ".ranks", static_cast<std::uint64_t>(replica.size()), where);
}

namespace detail {

/// Throws if the state that was put is another rank's than the replica's.
template <class Replica>
void require_own_state(const state_reader& reader, const std::string& name, const Replica& replica,
                       std::source_location where) {
  const auto rank = reader.get<std::uint64_t>(name + ".rank", where);
  const auto ranks = reader.get<std::uint64_t>(name + ".ranks", where);
  if (std::cmp_equal(rank, replica.rank()) && std::cmp_equal(ranks, replica.size())) return;
  throw state_error{"allfold: rank " + std::to_string(replica.rank()) + " of " +
                    std::to_string(replica.size()) + ": the compression's state in \"" + name +
                    "\" is that of rank " + std::to_string(rank) + " of " + std::to_string(ranks) +
                    ", at " + place_of(where)};
}

}  // namespace detail

/// Has `replica` go on as the one did that was put. Called by every rank after its replica was
/// made, of the same model and strategy. Errors: state_error, if a section is missing or of another
/// type, or the compression's state another rank's; usage_error, if it is not of such a model.
template <class Replica>
void get_replica(const state_reader& reader, const std::string& name, Replica& replica,
                 residuals how = residuals::own,
                 std::source_location where = std::source_location::current()) {
  replica_state saved;
  saved.steps = reader.get<std::uint64_t>(name + ".steps", where);
  saved.bucket_order = reader.get_span<std::uint64_t>(name + ".bucket_order", where);
  if (how == residuals::own && reader.has(name + ".ranks"))
    detail::require_own_state(reader, name, replica, where);
  replica.restore(saved, where);
  const auto get = [&](const std::string& piece, auto& value) {
    using type = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::integral<type>)
      value = reader.get<type>(name + ".compression." + piece, where);
    else
      value = reader.get_span<typename type::value_type>(name + ".compression." + piece, where);
  };
  if (how == residuals::dropped) return;
  if constexpr (requires { replica.compression().visit_state(get); })
    replica.compression().visit_state(get);
}

}  // namespace allfold
