// Communicators that carry out collectives by an engine of their own, such as NCCL.
#pragma once

#include <allfold/communicator/call.hpp>
#include <span>

namespace allfold {

/// True for communicators with an engine of their own. These say `has_engine` and offer
/// `native(engine_call<what, T>, operation)`.
template <class World>
inline constexpr bool has_engine = requires {
  requires World::has_engine;
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

}  // namespace allfold
