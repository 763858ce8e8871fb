// Says in one sentence what a model, a strategy or a compression lacks.
#pragma once

#include <allfold/data_parallel/compression.hpp>
#include <allfold/data_parallel/model.hpp>
#include <allfold/reduction.hpp>
#include <source_location>

namespace allfold::detail {

/// True, or a compile error. Where it holds, `trainable_model` does.
template <class Model>
constexpr bool require_model() {
  static_assert(has_parameters<Model>,
                "allfold: a model has parameters(), a member or a free function beside its type");
  static_assert(has_gradients<Model>,
                "allfold: a model has gradients(), a member or a free function beside its type");
  if constexpr (has_parameters<Model> && has_gradients<Model>) {
    using parameters = std::remove_reference_t<decltype(call_parameters(std::declval<Model&>()))>;
    using gradients = std::remove_reference_t<decltype(call_gradients(std::declval<Model&>()))>;
    static_assert(range_of_contiguous<parameters>,
                  "allfold: a model's parameters() returns a range of contiguous ranges, such as "
                  "std::array{std::span{weights}}");
    static_assert(range_of_contiguous<gradients>,
                  "allfold: a model's gradients() returns a range of contiguous ranges, such as "
                  "std::array{std::span{slopes}}");
    if constexpr (range_of_contiguous<parameters> && range_of_contiguous<gradients>) {
      using one = decltype(span_of(std::declval<range_item<parameters>&>()));
      using other = decltype(span_of(std::declval<range_item<gradients>&>()));
      static_assert(std::is_same_v<element_of<one>, element_of<other>>,
                    "allfold: a model's parameters and gradients are of one element type");
      static_assert(one::space == other::space,
                    "allfold: a model's parameters and gradients lie in the same kind of memory");
      static_assert(!std::is_const_v<std::remove_pointer_t<decltype(one{}.data())>> &&
                        !std::is_const_v<std::remove_pointer_t<decltype(other{}.data())>>,
                    "allfold: a model's parameters and gradients are written, so they can't be "
                    "const");
    }
  }
  return true;
}

/// The same of what a strategy says without a communicator; see strategy.hpp.
template <class Strategy, class Element>
constexpr bool require_strategy() {
  static_assert(
      requires { static_cast<bool>(Strategy::steps_everywhere); },
      "allfold: a strategy has steps_everywhere, a constant: whether all ranks step");
  static_assert(
      requires { &Strategy::bucketing::plan; },
      "allfold: a strategy names in bucketing how gradients are cut: buckets<…>");
  static_assert(
      requires { typename Strategy::compression; },
      "allfold: a strategy names a compression; uncompressed if there is none");
  if constexpr (requires { typename Strategy::compression; })
    static_assert(std::is_same_v<typename Strategy::compression, uncompressed> ||
                      compression<typename Strategy::compression, Element>,
                  "allfold: a compression is made without arguments and has a function "
                  "combine(gradient, index, ranks) for a std::span of the gradients' type");
  return true;
}

/// The same of what it does by one.
template <class Strategy, class World, class Elements>
constexpr bool require_strategy_on() {
  using where = std::source_location;
  static_assert(
      requires(World & world, Elements gradient, where from) {
        Strategy::reduce(world, gradient, sum{}, from);
        Strategy::reduce(world, gradient, average{}, from);
      },
      "allfold: a strategy has reduce(world, gradient, operation, where), static");
  static_assert(
      requires(World & world) {
        { Strategy::steps(world) } -> std::convertible_to<bool>;
      },
      "allfold: a strategy has steps(world), static: whether this rank steps");
  static_assert(
      requires(World & world, Elements parameter, where from) {
        Strategy::share(world, parameter, from);
      },
      "allfold: a strategy has share(world, parameter, where), static");
  return true;
}

}  // namespace allfold::detail
