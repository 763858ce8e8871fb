// Folds elements in host memory: many sources, many targets, any operation.
#pragma once

#include <allfold/reduction.hpp>
#include <cstddef>
#include <cstring>
#include <type_traits>

namespace allfold {

namespace detail {

/// Elements folded at a time. A constant number of iterations over local arrays is what compilers
/// vectorise also at plain -O2, without run-time checks for overlap.
template <class T>
inline constexpr std::size_t block_elements = sizeof(accumulator<T>) >= 128
                                                  ? 1
                                                  : 128 / sizeof(accumulator<T>);

/// A number of sources, at compile time for the usual few.
template <int N>
struct fixed_count {
  constexpr operator int() const { return N; }
};

template <class T, class Operation>
accumulator<T> finished(accumulator<T> value, const Operation& operation, int ranks) {
  if constexpr (requires { operation.finish(value, ranks); })
    return operation.finish(value, ranks);
  else
    return value;
}

/// Folds elements [first, first + Count) of all sources, in the order of the sources.
template <std::size_t Count, class T, class Operation, class Sources>
inline void fold_block(const T* const* sources, Sources source_count, T* const* targets,
                       int target_count, std::size_t first, const Operation& operation,
                       int finish_ranks) {
  accumulator<T> folded[Count];
  for (std::size_t i = 0; i < Count; ++i)
    folded[i] = static_cast<accumulator<T>>(sources[0][first + i]);
  for (int k = 1; k < source_count; ++k) {
    const T* const source = sources[k] + first;
    for (std::size_t i = 0; i < Count; ++i)
      folded[i] = operation(folded[i], static_cast<accumulator<T>>(source[i]));
  }
  if (finish_ranks > 0)
    for (std::size_t i = 0; i < Count; ++i)
      folded[i] = finished<T>(folded[i], operation, finish_ranks);
  for (int k = 0; k < target_count; ++k) {
    T* const target = targets[k] + first;
    for (std::size_t i = 0; i < Count; ++i) target[i] = static_cast<T>(folded[i]);
  }
}

template <class T, class Operation, class Sources>
void fold_all(const T* const* sources, Sources source_count, T* const* targets, int target_count,
              std::size_t count, const Operation& operation, int finish_ranks) {
  constexpr std::size_t block = block_elements<T>;
  std::size_t first = 0;
  for (; first + block <= count; first += block)
    fold_block<block>(sources, source_count, targets, target_count, first, operation, finish_ranks);
  for (; first < count; ++first)
    fold_block<1>(sources, source_count, targets, target_count, first, operation, finish_ranks);
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
  const auto run = [&](auto number) {
    detail::fold_all(sources, number, targets, target_count, count, operation, finish_ranks);
  };
  if (source_count == 1)
    copy(sources[0], targets, target_count, count);
  else if (source_count == 2)
    run(detail::fixed_count<2>{});
  else if (source_count == 3)
    run(detail::fixed_count<3>{});
  else
    run(source_count);
}

}  // namespace allfold
