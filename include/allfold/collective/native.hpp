// Hands collectives over to a communicator's own engine.
#pragma once

#include <allfold/communicator/engine.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/native.hpp>
#include <allfold/schedule/tuning.hpp>

namespace allfold {

/// An algorithm that all_reduce takes.
template <class Algorithm>
concept all_reduce_algorithm = std::same_as<Algorithm, native> ||
    ((schedule<Algorithm> || detail::is_choice<Algorithm>)&&Algorithm::kind ==
     collective::all_reduce);

namespace detail {

/// What folds in rank order; where an engine folds, in the engine's.
template <class World>
using in_rank_order = std::conditional_t<has_engine<World>, native, direct>;

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
