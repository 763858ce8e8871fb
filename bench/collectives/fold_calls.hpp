// Compiles the folds of one element type; for fold_*.cpp, which share the work of compiling.
#pragma once

#include "calls.hpp"

#include <type_traits>

namespace bench {

/// Sums and products of integers wrap around, signed or not, by the same instructions: those of
/// the unsigned type are compiled for both.
template <class T, class Operation>
using folded_as = typename std::conditional_t<std::is_integral_v<T> &&
                                                  (std::is_same_v<Operation, allfold::sum> ||
                                                   std::is_same_v<Operation, allfold::product>),
                                              std::make_unsigned<T>, std::type_identity<T>>::type;

template <class World, class T>
repeated_call<World> find_fold(allfold::collective what, std::string_view algorithm,
                               redop operation) {
  using enum allfold::collective;
  return with_operation(operation, [&]<class Operation>(Operation) {
    using element = folded_as<T, Operation>;
    if (what == all_reduce) return find_by_name<all_reduce, element, Operation, World>(algorithm);
    if (what == reduce) return find_by_name<reduce, element, Operation, World>(algorithm);
    return find_by_name<reduce_scatter, element, Operation, World>(algorithm);
  });
}

}  // namespace bench
