// Hands collectives over to communicators that carry them out themselves.
#pragma once

#include <allfold/communicator/engine.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/hierarchical.hpp>
#include <allfold/schedule/native.hpp>
#include <allfold/schedule/tuning.hpp>

namespace allfold {

/// An algorithm that all_reduce takes.
template <class Algorithm>
concept all_reduce_algorithm = std::same_as<Algorithm, native> ||
    detail::is_hierarchical<Algorithm> ||
    ((schedule<Algorithm> || detail::is_choice<Algorithm>)&&Algorithm::kind ==
     collective::all_reduce);

namespace detail {

/// What folds in rank order; where an engine folds, the engine, in its order.
template <class World>
using rank_order_on = std::conditional_t<has_engine<World>, native, direct>;

/// True of communicators that are handed whole collectives, not schedules.
template <class World>
inline constexpr bool is_handed_calls = has_engine<World> || composes<World>;

/// What a communicator takes for an algorithm.
template <class World, class Algorithm>
struct algorithm_on {
  static_assert(!is_hierarchical<Algorithm>,
                "allfold: hierarchical is for ranks on several nodes: nodes::communicator");
  using type = Algorithm;
};
template <class World, class Algorithm>
requires composes<World>
struct algorithm_on<World, Algorithm> {
  using type = typename World::template algorithm_for<Algorithm>;
};
template <class World, class Algorithm>
using on = typename algorithm_on<World, Algorithm>::type;

/// Hands a collective over to the communicator's engine, or to its levels.
template <class T, class World, class Plan, class Operation>
void run_natively(World& world, const Plan& plan, const T* input, T* output, std::size_t count,
                  std::span<const std::size_t> counts, const Operation& operation, call said) {
  bool in_place = false;
  if constexpr (requires { plan.in_place; }) in_place = plan.in_place;
  using named = std::conditional_t<composes<World>, Plan, native_plan<Plan::kind>>;
  said.kind = &kind_of_call<named, T, Operation>;
  said.root = root_of(plan);
  said.in_place = in_place;
  const engine_call<Plan::kind, T> it{input, output, count, counts, root_of(plan), in_place, said};
  if constexpr (composes<World>)
    compose(world, plan, it, operation);
  else
    world.native(it, operation);
}

}  // namespace detail
}  // namespace allfold
