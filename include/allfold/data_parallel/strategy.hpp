// How replicas are kept equal: who reduces, who steps, what is sent afterwards.
#pragma once

#include <allfold/collective/all_reduce.hpp>
#include <allfold/collective/broadcast.hpp>
#include <allfold/collective/reduce.hpp>
#include <allfold/schedule/primary.hpp>

namespace allfold {

// A strategy is an empty type that says
//  - reduce(world, gradient, operation, where): folds one gradient as far as it needs to be;
//  - steps(world): whether this rank applies the optimizer;
//  - share(world, parameter, where): makes a parameter equal on all ranks after the step.
// Gradients and parameters are spans, in host memory or in a device's.

/// PyTorch's DataParallel: gradients are folded on rank `Root`, which alone steps and then sends
/// the parameters to the others. Only the root needs an optimizer's state. Gradients on the other
/// ranks keep their own values.
template <int Root = 0>
struct primary_device {
  static constexpr std::string_view name = "primary_device";

  template <class World, class Elements, class Operation>
  static void reduce(World& world, Elements gradient, const Operation& operation,
                     std::source_location where) {
    allfold::reduce<primary<Root>>(world, gradient, Root, operation, where);
  }
  template <class World>
  static bool steps(World& world) {
    return world.rank() == Root;
  }
  template <class World, class Elements>
  static void share(World& world, Elements parameter, std::source_location where) {
    allfold::broadcast<direct>(world, parameter, Root, where);
  }
};

/// PyTorch's DistributedDataParallel: gradients are all-reduced by `Algorithm`, and every rank
/// takes the same step.
template <class Algorithm = automatic>
struct distributed {
  static constexpr std::string_view name = "distributed";
  static_assert(all_reduce_algorithm<Algorithm>,
                "allfold: distributed<…> takes an algorithm for all_reduce");

  template <class World, class Elements, class Operation>
  static void reduce(World& world, Elements gradient, const Operation& operation,
                     std::source_location where) {
    all_reduce<Algorithm>(world, gradient, operation, where);
  }
  template <class World>
  static bool steps(World&) {
    return true;
  }
  template <class World, class Elements>
  static void share(World&, Elements, std::source_location) {}
};

}  // namespace allfold
