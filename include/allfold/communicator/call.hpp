// What a rank says of the collective that it enters, so that ranks can tell whether they agree.
#pragma once

#include <allfold/error.hpp>
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

/// A call in words: "all_reduce #3 (direct, 100 x float, sum) at train.cpp:12".
inline std::string describe(const call& it, std::uint64_t number) {
  std::string text{name_of(it.kind->what)};
  text += " #" + std::to_string(number) + " (" + std::string{it.kind->algorithm};
  if (it.kind->what != collective::barrier)
    text += ", " + std::to_string(it.count) + " x " + std::string{it.kind->type};
  if (!it.kind->operation.empty()) text += ", " + std::string{it.kind->operation};
  if (it.kind->what == collective::reduce || it.kind->what == collective::broadcast ||
      it.kind->what == collective::scatter || it.kind->what == collective::gather)
    text += ", root " + std::to_string(it.root);
  if (it.in_place) text += ", in place";
  if (it.counts_hash != 0) text += ", counts per rank";
  return text + ") at " + place_of(it.where);
}

}  // namespace allfold
