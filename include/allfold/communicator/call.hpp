// What a rank says of the collective that it enters, so that ranks can tell whether they agree.
#pragma once

#include <allfold/error.hpp>
#include <allfold/hash.hpp>
#include <allfold/schedule/step.hpp>
#include <allfold/type_name.hpp>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

namespace allfold {

/// The part of a call that is known at compile time. One object per combination, for the whole
/// program, so that a rank may point to it.
struct call_kind {
  collective what;
  std::string_view algorithm;
  std::string_view type;
  std::string_view operation;  ///< empty where nothing is folded
  std::uint64_t hash;
};

/// The kind of a call of schedule `Schedule` on elements of type T, folded with `Operation`.
template <class Schedule, class T, class Operation>
inline constexpr call_kind kind_of_call = [] {
  const std::string_view type = type_name<T>();
  const std::string_view operation =
      folds(Schedule::kind) ? type_name<Operation>() : std::string_view{};
  const std::uint64_t what =
      mixed(hash_of(Schedule::name), static_cast<std::uint64_t>(Schedule::kind));
  const std::uint64_t hash = mixed(mixed(what, hash_of(type)), hash_of(operation));
  return call_kind{Schedule::kind, Schedule::name, type, operation, hash};
}();

/// A call of a collective: what every rank must say alike, and where in the caller's source it is.
struct call {
  const call_kind* kind = nullptr;
  std::size_t count = 0;          ///< elements: of the whole, or of one rank's chunk if all alike
  int root = 0;                   ///< 0 where the collective has none
  std::uint64_t counts_hash = 0;  ///< of the counts per rank, where they are given
  bool in_place = false;          ///< where the ranks must agree on it
  std::source_location where{};

  /// One number for all that must agree. Every call works it out: the products need not wait for
  /// each other.
  std::uint64_t fingerprint() const {
    const std::uint64_t place = static_cast<std::uint64_t>(root) * 2 + (in_place ? 1 : 0);
    return mixed(kind->hash + static_cast<std::uint64_t>(count) * 0x9e3779b97f4a7c15u +
                     counts_hash * 0xbf58476d1ce4e5b9u,
                 place * 0x94d049bb133111ebu);
  }
};

/// What is said of a call in messages.
struct call_words {
  collective what;
  std::string_view algorithm, type, operation;
  std::string place;
  std::size_t count = 0;
  int root = 0;
  bool in_place = false, has_counts = false;
};
/// Those of a call of this process.
inline call_words words_of(const call& it) {
  return {it.kind->what,      it.kind->algorithm, it.kind->type, it.kind->operation,
          place_of(it.where), it.count,           it.root,       it.in_place,
          it.counts_hash != 0};
}

/// A call in words: "all_reduce #3 (direct, 100 x float, sum) at train.cpp:12".
inline std::string describe(const call_words& it, std::uint64_t number) {
  std::string text{name_of(it.what)};
  text += " #" + std::to_string(number) + " (" + std::string{it.algorithm};
  if (it.what != collective::barrier)
    text += ", " + std::to_string(it.count) + " x " + std::string{it.type};
  if (!it.operation.empty()) text += ", " + std::string{it.operation};
  if (it.what == collective::reduce || it.what == collective::broadcast ||
      it.what == collective::scatter || it.what == collective::gather)
    text += ", root " + std::to_string(it.root);
  if (it.in_place) text += ", in place";
  if (it.has_counts) text += ", counts per rank";
  return text + ") at " + it.place;
}
/// The same of a call of this process.
inline std::string describe(const call& it, std::uint64_t number) {
  return describe(words_of(it), number);
}

}  // namespace allfold
