// Collectives by a communicator's own engine, such as NCCL.
#pragma once

#include <allfold/communicator/call.hpp>
#include <allfold/schedule/step.hpp>
#include <span>

namespace allfold {

namespace detail {

/// Stands for a schedule where an engine has its own.
template <collective Kind>
struct native_plan {
  static constexpr collective kind = Kind;
  static constexpr std::string_view name = "native";
};
template <collective Kind>
struct rooted_native_plan {
  static constexpr collective kind = Kind;
  static constexpr std::string_view name = "native";
  int root = 0;
};
template <>
struct native_plan<collective::all_to_all> {
  static constexpr collective kind = collective::all_to_all;
  static constexpr std::string_view name = "native";
  bool in_place = false;
};

}  // namespace detail

/// The algorithm of the communicator's own engine. Only for communicators that have one; these
/// carry out every collective by it.
struct native : detail::native_plan<collective::all_reduce> {
  using reduce = detail::rooted_native_plan<collective::reduce>;
  using broadcast = detail::rooted_native_plan<collective::broadcast>;
  using reduce_scatter = detail::native_plan<collective::reduce_scatter>;
  using all_gather = detail::native_plan<collective::all_gather>;
  using scatter = detail::rooted_native_plan<collective::scatter>;
  using gather = detail::rooted_native_plan<collective::gather>;
  using all_to_all = detail::native_plan<collective::all_to_all>;
  using barrier = detail::native_plan<collective::barrier>;
};

/// True for communicators with an engine of their own. These say `has_engine` and offer
/// `native(engine_call<what, T>, operation)`.
template <class World>
inline constexpr bool has_engine = requires {
  requires World::has_engine;
};

/// An algorithm that all_reduce takes.
template <class Algorithm>
concept all_reduce_algorithm = std::same_as<Algorithm, native> ||
    (schedule<Algorithm>&& Algorithm::kind == collective::all_reduce);

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

/// Hands a collective over to the communicator's engine.
template <class T, class World, class Plan, class Operation>
void run_natively(World& world, const Plan& plan, const T* input, T* output, std::size_t count,
                  std::span<const std::size_t> counts, const Operation& operation, call said) {
  bool in_place = false;
  if constexpr (requires { plan.in_place; }) in_place = plan.in_place;
  said.kind = &kind_of_call<native_plan<Plan::kind>, T, Operation>;
  said.root = root_of(plan);
  said.in_place = in_place;
  world.native(
      engine_call<Plan::kind, T>{input, output, count, counts, root_of(plan), in_place, said},
      operation);
}

}  // namespace detail
}  // namespace allfold
