// How replicas are kept equal: who reduces, who steps, what is sent afterwards.
#pragma once

#include <allfold/collective/all_reduce.hpp>
#include <allfold/collective/broadcast.hpp>
#include <allfold/collective/reduce.hpp>
#include <allfold/data_parallel/bucket.hpp>
#include <allfold/data_parallel/compression.hpp>
#include <allfold/schedule/primary.hpp>

namespace allfold {

// A strategy is an empty type that says
//  - reduce(world, gradient, operation, where): folds one stretch of gradients as far as it needs
//    to be;
//  - steps(world): whether this rank applies the optimizer, and steps_everywhere: whether all do;
//  - share(world, parameter, where): makes a parameter equal on all ranks after the step;
//  - bucketing: a `buckets`, and compression: how gradients are combined in fewer bytes;
//  - optionally algorithm, and average_every and average_from; see `local_sgd`.
// Gradients and parameters are spans, in host memory or in a device's.

/// PyTorch's DataParallel: gradients are folded on rank `Root`, which alone steps and then sends
/// the parameters to the others. Only the root needs an optimizer's state. Gradients on the other
/// ranks keep their own values.
template <int Root = 0, class Buckets = buckets<>>
struct primary_device {
  static constexpr std::string_view name = "primary_device";
  static constexpr bool steps_everywhere = false;
  using bucketing = Buckets;
  using compression = uncompressed;

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

/// PyTorch's DistributedDataParallel: gradients are all-reduced by `Algorithm`, `Buckets` of them
/// at a time, and every rank takes the same step. `Compression` says how they are sent in fewer
/// bytes: `wire<bfloat16>`, `power_sgd<…>`, `top_k<…>` or a type of your own; see compression.hpp.
template <class Algorithm = automatic, class Buckets = buckets<>, class Compression = uncompressed>
struct distributed {
  static constexpr std::string_view name = "distributed";
  static constexpr bool steps_everywhere = true;
  using algorithm = Algorithm;
  using bucketing = Buckets;
  using compression = Compression;
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

/// Every rank steps by its own gradients, and all average their parameters after every `Every`
/// steps; before that, in the first `From` steps, gradients are reduced as `Inner` does: PyTorch's
/// post-local SGD. Lin and others, "Don't use large mini-batches, use local SGD", 2020.
template <int Every, int From = 0, class Inner = distributed<>>
struct local_sgd : Inner {
  static constexpr std::string_view name = "local_sgd";
  static constexpr int average_every = Every;
  static constexpr int average_from = From;
  static_assert(Every > 0 && From >= 0, "allfold: local_sgd averages after so many steps");
  static_assert(Inner::steps_everywhere, "allfold: in local_sgd every rank steps");
};

namespace detail {

/// True if ranks that have taken so many steps go their own ways.
template <class Strategy>
constexpr bool is_local(std::uint64_t steps) {
  if constexpr (requires { Strategy::average_every; })
    return steps >= static_cast<std::uint64_t>(Strategy::average_from);
  return false;
}
/// True if ranks that have taken so many steps average their parameters then.
template <class Strategy>
constexpr bool averages_after(std::uint64_t steps) {
  if constexpr (requires { Strategy::average_every; }) {
    constexpr auto from = static_cast<std::uint64_t>(Strategy::average_from);
    return steps > from && (steps - from) % Strategy::average_every == 0;
  }
  return false;
}

}  // namespace detail
}  // namespace allfold
