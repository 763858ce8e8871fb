// Communicators that carry out collectives by an engine of their own, such as NCCL.
#pragma once

#include <allfold/communicator/call.hpp>
#include <allfold/reduction.hpp>
#include <allfold/schedule/native.hpp>
#include <span>
#include <vector>

namespace allfold {

/// True for communicators with an engine of their own. These say `has_engine` and offer
/// `native(engine_call<what, T>, operation)`.
template <class World>
inline constexpr bool has_engine = requires {
  requires World::has_engine;
};

/// True for communicators that put every collective together from those of others, such as
/// nodes::communicator. These say `composes` and name in `algorithm_for<Algorithm>` what they take
/// for an algorithm; a function compose(world, plan, engine_call<what, T>, operation) beside them
/// carries it out.
template <class World>
inline constexpr bool composes = requires {
  requires World::composes;
};

/// What an engine is asked to do. The collective is part of the type, so that folds are compiled
/// only for types that are folded.
template <collective What, class T>
struct engine_call {
  static constexpr collective what = What;

  const T* input;                       ///< null where the rank gives nothing
  T* output;                            ///< null where the rank gets nothing
  std::size_t count;                    ///< elements: of all, or of each rank's share
  std::span<const std::size_t> counts;  ///< by rank, where the shares differ; else empty
  int root;
  bool in_place;  ///< of an all_to_all
  call said;      ///< for messages, and for ranks to compare
};

namespace detail {

/// Every rank's `mine`, by rank, as a communicator in host memory gathers them or its engine does.
/// Every rank calls it.
template <class World, class T>
std::vector<T> gathered(World& world, const T& mine, std::source_location where) {
  if constexpr (requires { world.gather(mine, where); }) {
    return world.gather(mine, where);
  } else {
    std::vector<T> all(static_cast<std::size_t>(world.size()));
    using plan = native::all_gather;
    world.native(
        engine_call<plan::kind, T>{
            &mine,
            all.data(),
            1,
            {},
            0,
            false,
            {.kind = &kind_of_call<plan, T, sum>, .count = 1, .where = where}},
        sum{});
    return all;
  }
}

}  // namespace detail
}  // namespace allfold
