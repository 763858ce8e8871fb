// Folds elements in host memory: many sources, many targets, any operation.
#pragma once

#include <allfold/reduction.hpp>
#include <cstddef>
#include <cstring>
#include <type_traits>

namespace allfold {

namespace detail {

template <class T, class Operation>
accumulator<T> finished(accumulator<T> value, const Operation& operation, int ranks) {
  if constexpr (requires { operation.finish(value, ranks); })
    return operation.finish(value, ranks);
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
  static void fold(const T* const* sources, int source_count, T* const* targets, int target_count,
                   std::size_t first, const Operation& operation, int finish_ranks) {
    wide folded[Count];
    for (std::size_t i = 0; i < Count; ++i) folded[i] = static_cast<wide>(sources[0][first + i]);
    for (int k = 1; k < source_count; ++k) {
      const T* const source = sources[k] + first;
      for (std::size_t i = 0; i < Count; ++i)
        folded[i] = operation(folded[i], static_cast<wide>(source[i]));
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

/// The library's operations on built-in numbers: four of the processor's vectors at a time, spelled
/// with the vector types of GCC and Clang, because GCC's -O2 keeps local arrays in memory.
template <class T, class Operation>
struct vector_block {
  /// Sums and products of integers wrap around, which signed vectors need not.
  using lane = typename std::conditional_t<std::is_integral_v<T> && !is_ordering<Operation>,
                                           std::make_unsigned<T>, std::type_identity<T>>::type;
#if defined(__AVX512F__)
  static constexpr std::size_t bytes = 64;
#elif defined(__AVX__)
  static constexpr std::size_t bytes = 32;
#else
  static constexpr std::size_t bytes = 16;
#endif
  typedef lane pack __attribute__((vector_size(bytes)));
  /// A pack at any address, over elements of any type.
  typedef lane in_memory __attribute__((vector_size(bytes), aligned(1), may_alias));
  static constexpr std::size_t step = bytes / sizeof(T);
  static constexpr std::size_t count = 4 * step;

  static void load(const T* from, pack& a, pack& b, pack& c, pack& d) {
    const auto* const packs = reinterpret_cast<const in_memory*>(from);
    a = packs[0];
    b = packs[1];
    c = packs[2];
    d = packs[3];
  }
  static void store(T* to, const pack& a, const pack& b, const pack& c, const pack& d) {
    auto* const packs = reinterpret_cast<in_memory*>(to);
    packs[0] = a;
    packs[1] = b;
    packs[2] = c;
    packs[3] = d;
  }
  static void fold(const T* const* sources, int source_count, T* const* targets, int target_count,
                   std::size_t first, const Operation& operation, int finish_ranks) {
    pack a, b, c, d, e, f, g, h;
    load(sources[0] + first, a, b, c, d);
    for (int k = 1; k < source_count; ++k) {
      load(sources[k] + first, e, f, g, h);
      a = operation(a, e);
      b = operation(b, f);
      c = operation(c, g);
      d = operation(d, h);
    }
    if constexpr (std::is_same_v<Operation, average>) {
      if (finish_ranks > 0) {
        const auto ranks = static_cast<lane>(finish_ranks);
        a /= ranks;
        b /= ranks;
        c /= ranks;
        d /= ranks;
      }
    }
    for (int k = 0; k < target_count; ++k) store(targets[k] + first, a, b, c, d);
  }
};

template <class T, class Operation>
inline constexpr bool folds_in_vectors =
    std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, long double> &&
    (std::is_same_v<Operation, sum> || std::is_same_v<Operation, product> ||
     is_ordering<Operation> || (std::is_same_v<Operation, average> && !std::is_integral_v<T>));

template <class T, class Operation>
using block = std::conditional_t<folds_in_vectors<T, Operation>, vector_block<T, Operation>,
                                 array_block<T, Operation>>;

/// `Sources` and `Targets` > 0 fix their numbers, so that no loop over them remains.
template <int Sources, int Targets, class T, class Operation>
void fold_all(const T* const* sources, int source_count, T* const* targets, int target_count,
              std::size_t count, const Operation& operation, int finish_ranks) {
  const int from = Sources > 0 ? Sources : source_count;
  const int to = Targets > 0 ? Targets : target_count;
  using blocks = block<T, Operation>;
  using singles = array_block<T, Operation>;
  std::size_t first = 0;
  for (; first + blocks::count <= count; first += blocks::count)
    blocks::fold(sources, from, targets, to, first, operation, finish_ranks);
  for (; first < count; ++first)
    singles::template fold<1>(sources, from, targets, to, first, operation, finish_ranks);
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
  const auto run = [&](auto fold_some) {
    fold_some(sources, source_count, targets, target_count, count, operation, finish_ranks);
  };
  if (source_count == 1)
    copy(sources[0], targets, target_count, count);
  else if (source_count == 2 && target_count == 1)
    run(detail::fold_all<2, 1, T, Operation>);
  else if (source_count == 2 && target_count == 2)
    run(detail::fold_all<2, 2, T, Operation>);
  else
    run(detail::fold_all<0, 0, T, Operation>);
}

}  // namespace allfold
