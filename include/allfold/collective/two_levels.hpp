// What the collectives over several nodes share: one rank's call, on two levels.
#pragma once

#include <allfold/collective/level.hpp>

namespace allfold::detail {

/// An operation whose fold is not complete yet.
template <class Operation>
struct unfinished {
  Operation operation;
  template <class T>
  constexpr T operator()(const T& a, const T& b) const {
    return operation(a, b);
  }
};
template <class Operation, class T>
concept finishes = requires(const Operation& operation, const accumulator<T> value) {
  operation.finish(value, 1);
};
/// What the levels fold with, so that a fold is finished once.
template <class T, class Operation>
auto without_finish(const Operation& operation) {
  if constexpr (!finishes<Operation, T>)
    return operation;
  else if constexpr (std::is_same_v<Operation, average>)
    return sum{};
  else
    return unfinished<Operation>{operation};
}

/// `base + count`, or null if base is.
template <class T>
T* offset(T* base, std::size_t count) {
  return base == nullptr ? nullptr : base + count;
}

/// One rank's call of a collective over several nodes.
template <class World, class Plan, collective Kind, class T>
class two_level_call {
 public:
  using inside_algorithm = typename Plan::inside;
  static constexpr bool in_order = std::is_same_v<typename Plan::across, in_rank_order>;
  /// A device's elements: the host gives work to streams, and touches no element.
  static constexpr bool in_streams = World::space == memory_space::device;
  using across_algorithm = std::conditional_t<in_order, automatic, typename Plan::across>;
  using inside_level = level<typename World::inside_type, inside_algorithm, World>;
  using across_level = level<typename World::across_type, across_algorithm, World>;

  two_level_call(World& its, const engine_call<Kind, T>& it)
      : world{its},
        said{it.said},
        inside{its.inside(), its, nodes::tier::inside, said},
        across{its.across(), its, nodes::tier::across, said},
        node{its.node()},
        lane{its.lane()},
        root_node{it.root / its.lanes()},
        root_lane{it.root % its.lanes()} {}
  two_level_call(const two_level_call&) = delete;
  two_level_call& operator=(const two_level_call&) = delete;

  World& world;
  const call& said;
  inside_level inside;
  across_level across;
  const int node, lane, root_node, root_lane;

  bool on_root_node() const { return node == root_node; }
  bool is_root() const { return on_root_node() && lane == root_lane; }

  /// Memory for `count` elements, the only such memory of this call.
  template <class U = T>
  U* scratch(std::size_t count) const {
    return reinterpret_cast<U*>(world.scratch(count * sizeof(U)));
  }
  /// What the levels fold with: so that a fold is finished once in host memory, by each level in a
  /// device's.
  template <class Operation>
  auto partial(const Operation& operation) const {
    if constexpr (in_streams)
      return operation;
    else
      return without_finish<T>(operation);
  }
  /// Applies the operation's finish, if it has one that `partial` left out, to elements that hold
  /// all ranks' fold.
  template <class Operation>
  void finish(T* elements, std::size_t count, const Operation& operation) const {
    if constexpr (finishes<Operation, T> && !in_streams)
      fold<T>(&elements, 1, &elements, 1, count, operation, world.size());
  }
};

/// Carries out one rank's part of a collective by `work(call)`; `Call` is a two_level_call. What an
/// exception leaves by fails all levels.
template <class Call, class World, collective Kind, class T, class Work>
void carry_out(World& world, const engine_call<Kind, T>& it, Work work) {
  try {
    Call by{world, it};
    work(by);
  } catch (...) {
    failure found = failure_of(std::current_exception());
    found.text = world.name() + ", " + describe(it.said, world.number()) + ": " + found.text;
    world.tell_all(found);  // unless that has been done
    throw;
  }
  world.completed();
}

}  // namespace allfold::detail
