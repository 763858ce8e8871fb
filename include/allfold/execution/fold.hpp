// Folds elements in host memory: many sources, many targets, any operation.
#pragma once

#include <allfold/execution/vectors.hpp>
#include <allfold/reduction.hpp>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

namespace allfold {

namespace detail {

template <class T, class Operation>
accumulator<T> finished(const accumulator<T>& value, const Operation& operation, int ranks) {
  if constexpr (requires { operation.finish(value, ranks); })
    return static_cast<accumulator<T>>(operation.finish(value, ranks));
  else
    return value;
}

/// Any element type and operation: `Count` elements at a time. A constant number of iterations over
/// local arrays is what compilers vectorise also at plain -O2, without checks for overlap.
template <class T, class Operation>
struct array_block {
  using wide = accumulator<T>;
  static constexpr std::size_t count = sizeof(wide) >= 128 ? 1 : 128 / sizeof(wide);

  template <std::size_t Count = count>
  [[gnu::always_inline]] static void fold(const T* const* sources, int source_count,
                                          T* const* targets, int target_count, std::size_t first,
                                          const Operation& operation, int finish_ranks) {
    wide folded[Count];
    for (std::size_t i = 0; i < Count; ++i) folded[i] = static_cast<wide>(sources[0][first + i]);
    for (int k = 1; k < source_count; ++k) {
      const T* const source = sources[k] + first;
      for (std::size_t i = 0; i < Count; ++i)
        folded[i] = static_cast<wide>(operation(folded[i], static_cast<wide>(source[i])));
    }
    if (finish_ranks > 0)
      for (std::size_t i = 0; i < Count; ++i)
        folded[i] = finished<T>(folded[i], operation, finish_ranks);
    for (int k = 0; k < target_count; ++k) {
      T* const target = targets[k] + first;
      for (std::size_t i = 0; i < Count; ++i) target[i] = static_cast<T>(folded[i]);
    }
  }
};

/// The library's operations on numbers: four registers of elements at a time.
template <class T, class Operation>
struct vector_block {
  /// Sums and products of integers wrap around, which signed lanes need not.
  using raw = typename std::conditional_t<std::is_integral_v<T> && !is_ordering<Operation>,
                                          std::make_unsigned<T>, std::type_identity<T>>::type;
  using elements = packed<T, raw>;
  static constexpr std::size_t step = elements::count;
  static constexpr std::size_t registers = register_bytes >= 32 ? 4 : 8;
  static constexpr std::size_t count = registers * step;

  [[gnu::always_inline]] static void fold(const T* const* sources, int source_count,
                                          T* const* targets, int target_count, std::size_t first,
                                          const Operation&, int finish_ranks) {
    fold(sources, source_count, targets, target_count, first, finish_ranks,
         std::make_index_sequence<registers>{});
  }
  /// The same for one register of elements.
  [[gnu::always_inline]] static void fold_step(const T* const* sources, int source_count,
                                               T* const* targets, int target_count,
                                               std::size_t first, int finish_ranks) {
    fold(sources, source_count, targets, target_count, first, finish_ranks,
         std::make_index_sequence<1>{});
  }

 private:
  // Unrolled by pack expansion: a loop over the registers would put them into memory.
  template <std::size_t... Index>
  [[gnu::always_inline]] static void fold(const T* const* sources, int source_count,
                                          T* const* targets, int target_count, std::size_t first,
                                          int finish_ranks, std::index_sequence<Index...>) {
    elements folded[] = {elements::load(sources[0] + first + Index * step)...};
    for (int k = 1; k < source_count; ++k) {
      const T* const source = sources[k] + first;
      (folded[Index].template fold<Operation>(elements::load(source + Index * step)), ...);
    }
    if constexpr (std::is_same_v<Operation, average>)
      if (finish_ranks > 0) (folded[Index].divide(finish_ranks), ...);
    for (int k = 0; k < target_count; ++k) {
      T* const target = targets[k] + first;
      (folded[Index].store(target + Index * step), ...);
    }
  }
};

template <class T, class Operation>
inline constexpr bool folds_in_vectors = fits_lanes<T> && (std::is_same_v<Operation, sum> ||
                                                           std::is_same_v<Operation, product> ||
                                                           is_ordering<Operation> ||
                                                           (std::is_same_v<Operation, average> &&
                                                            !std::is_integral_v<T>));

template <class T, class Operation>
using block = std::conditional_t<folds_in_vectors<T, Operation>, vector_block<T, Operation>,
                                 array_block<T, Operation>>;

// Blocks are always inlined into the loop over them: a compiler that has much else to inline in a
// unit would leave a call there for each 128 bytes.

/// A block at a time, then a register, then the rest one by one. `Sources` and `Targets` > 0 fix
/// the numbers, so that no loop over them remains.
template <int Sources, int Targets, class T, class Operation>
void fold_all(const T* const* sources, int source_count, T* const* targets, int target_count,
              std::size_t count, const Operation& operation, int finish_ranks) {
  using blocks = block<T, Operation>;
  using singles = array_block<T, Operation>;
  if constexpr (Sources > 0) source_count = Sources;
  if constexpr (Targets > 0) target_count = Targets;
  const std::size_t whole = count / blocks::count * blocks::count;
  std::size_t first = 0;
  for (; first < whole; first += blocks::count)
    blocks::fold(sources, source_count, targets, target_count, first, operation, finish_ranks);
  if constexpr (folds_in_vectors<T, Operation>)
    for (; first + blocks::step <= count; first += blocks::step)
      blocks::fold_step(sources, source_count, targets, target_count, first, finish_ranks);
  for (; first < count; ++first)
    singles::template fold<1>(sources, source_count, targets, target_count, first, operation,
                              finish_ranks);
}

/// The same for a fixed number of sources and targets. Their addresses are copied first: then the
/// compiler sees that no element's store changes them, and need not load them again for every
/// block.
template <int Sources, int Targets, class T, class Operation>
void fold_some(const T* const* sources, T* const* targets, std::size_t count,
               const Operation& operation, int finish_ranks) {
  const T* from[static_cast<std::size_t>(Sources)];
  T* to[static_cast<std::size_t>(Targets)];
  for (int k = 0; k < Sources; ++k) from[k] = sources[k];
  for (int k = 0; k < Targets; ++k) to[k] = targets[k];
  fold_all<Sources, Targets>(from, Sources, to, Targets, count, operation, finish_ranks);
}

}  // namespace detail

/// Copies `count` elements to every target that is not the source itself.
template <class T>
void copy(const T* source, T* const* targets, int target_count, std::size_t count) {
  for (int k = 0; k < target_count; ++k)
    if (targets[k] != source && count > 0)
      std::memcpy(static_cast<void*>(targets[k]), source, count * sizeof(T));
}

/// Folds `count` elements of the sources, in their order, and writes the result to every target:
/// target[i] = operation(… operation(source0[i], source1[i]) …, source_n−1[i]), in accumulator<T>,
/// rounded once at the end. A target may be one of the sources; otherwise none overlap.
/// `finish_ranks` > 0 says that the fold is complete, over so many ranks: then `operation.finish`
/// is applied where it exists.
template <class T, class Operation>
void fold(const T* const* sources, int source_count, T* const* targets, int target_count,
          std::size_t count, const Operation& operation, int finish_ranks) {
  if constexpr (!requires(accumulator<T> value) { operation.finish(value, 1); }) finish_ranks = 0;
  if (source_count == 1 && finish_ranks == 0)
    copy(sources[0], targets, target_count, count);
  else if (source_count == 2 && target_count == 1)
    detail::fold_some<2, 1>(sources, targets, count, operation, finish_ranks);
  else if (source_count == 2 && target_count == 2)
    detail::fold_some<2, 2>(sources, targets, count, operation, finish_ranks);
  else
    detail::fold_all<0, 0>(sources, source_count, targets, target_count, count, operation,
                           finish_ranks);
}

}  // namespace allfold
