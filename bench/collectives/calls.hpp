// The library's collectives behind one signature.
#pragma once

#include "algorithms.hpp"
#include "names.hpp"
#include "shape.hpp"

#include <span>

namespace bench {

/// Calls a collective `times` times, one behind the other. The loop is on this side, so that a
/// short message is not charged for the way through a pointer.
template <class World>
using repeated_call = void (*)(World& world, const operands& with, std::size_t times);

template <allfold::collective What, class Algorithm, class T, class Operation, class World>
void repeat(World& world, const operands& with, std::size_t times) {
  using enum allfold::collective;
  const std::span<const T> input{reinterpret_cast<const T*>(with.input), with.input_count};
  const std::span<T> output{reinterpret_cast<T*>(with.output), with.output_count};
  for (; times > 0; --times) {
    if constexpr (What == all_reduce)
      allfold::all_reduce<Algorithm>(world, input, output, Operation{});
    else if constexpr (What == reduce)
      allfold::reduce<Algorithm>(world, input, output, with.root, Operation{});
    else if constexpr (What == broadcast)
      allfold::broadcast<Algorithm>(world, input, output, with.root);
    else if constexpr (What == reduce_scatter)
      allfold::reduce_scatter<Algorithm>(world, input, output, Operation{});
    else if constexpr (What == all_gather)
      allfold::all_gather<Algorithm>(world, input, output);
    else if constexpr (What == scatter)
      allfold::scatter<Algorithm>(world, input, output, with.root);
    else if constexpr (What == gather)
      allfold::gather<Algorithm>(world, input, output, with.root);
    else if constexpr (What == all_to_all)
      allfold::all_to_all<Algorithm>(world, input, output);
    else
      allfold::barrier<Algorithm>(world);
  }
}

/// The call by the algorithm of that name, or null if the collective has none such.
template <allfold::collective What, class T, class Operation, class World>
repeated_call<World> find_by_name(std::string_view algorithm) {
  repeated_call<World> found = nullptr;
  for_each_algorithm([&]<class Algorithm>() {
    if constexpr (offers<Algorithm, What>())
      if (algorithm == algorithm_name<Algorithm>)
        found = &repeat<What, Algorithm, T, Operation, World>;
  });
  return found;
}

/// all_reduce, reduce or reduce_scatter on elements of type T. Instantiated in fold_*.cpp.
template <class World, class T>
repeated_call<World> find_fold(allfold::collective what, std::string_view algorithm,
                               redop operation);

/// A collective that moves elements of so many bytes, or none. Instantiated in moves.cpp.
template <class World>
repeated_call<World> find_move(allfold::collective what, std::string_view algorithm,
                               std::size_t element_bytes);

/// Any collective; null if it has no such algorithm.
template <class World>
repeated_call<World> find_call(allfold::collective what, std::string_view algorithm, datatype type,
                               redop operation) {
  if (!allfold::folds(what)) return find_move<World>(what, algorithm, size_of(type));
  return with_element(type,
                      [&]<class T>() { return find_fold<World, T>(what, algorithm, operation); });
}

}  // namespace bench
