// Makes jobs of the collectives that fold.
#pragma once

#include <allfold/collective/all_reduce.hpp>
#include <allfold/collective/reduce.hpp>
#include <allfold/collective/reduce_scatter.hpp>
#include <string_view>
#include <vector>

#include "support/jobs.hpp"
#include "support/operations.hpp"
#include "support/reference.hpp"

namespace test {

/// An algorithm, an element type and an operation, as far as a job needs them.
struct folding {
  std::string_view collective, algorithm, operation;
  const element_kind* kind;
  range values;
  int least_ranks;  ///< that the algorithm works on
  void (*call)(world&, const arguments&);
  /// For so many ranks, elements (or a share of a rank) and root.
  fold_plan (*plan)(int ranks, std::size_t count, const element_kind& kind, int root);
  /// What a rank's result must be.
  bytes (*expected)(const fold_plan& plan, int rank, const std::vector<const std::byte*>& inputs,
                    const bytes& before);
};

namespace detail {

template <class T, class Operation>
bytes folded_bytes(const fold_plan& plan, int rank, const std::vector<const std::byte*>& inputs,
                   const bytes& before) {
  std::vector<const T*> elements;
  for (const std::byte* each : inputs) elements.push_back(reinterpret_cast<const T*>(each));
  return folded<T, Operation>(plan, rank, elements, before);
}

template <class T>
operand<T> elements(std::byte* data, std::size_t count) {
  return {reinterpret_cast<T*>(data), count};
}

template <class Algorithm, class T, class Operation>
void call_all_reduce(world& ranks, const arguments& with) {
  const operand<T> input = elements<T>(with.input, with.input_count);
  if (with.in_place)
    allfold::all_reduce<Algorithm>(ranks, input, Operation{});
  else
    allfold::all_reduce<Algorithm>(ranks, operand<const T>{input},
                                   elements<T>(with.output, with.output_count), Operation{});
}
template <class Algorithm, class T, class Operation>
void call_reduce(world& ranks, const arguments& with) {
  const operand<T> input = elements<T>(with.input, with.input_count);
  if (with.in_place)
    allfold::reduce<Algorithm>(ranks, input, with.root, Operation{});
  else
    allfold::reduce<Algorithm>(ranks, operand<const T>{input},
                               elements<T>(with.output, with.output_count), with.root, Operation{});
}
template <class Algorithm, class T, class Operation>
void call_reduce_scatter(world& ranks, const arguments& with) {
  const operand<T> input = elements<T>(with.input, with.input_count);
  if (with.in_place)
    allfold::reduce_scatter<Algorithm>(ranks, input, Operation{});
  else
    allfold::reduce_scatter<Algorithm>(ranks, operand<const T>{input},
                                       elements<T>(with.output, with.output_count), Operation{});
}

template <class Schedule>
fold_plan plan_evenly(int ranks, std::size_t count, const element_kind& kind, int root) {
  Schedule plan{};
  if constexpr (requires { plan.root = root; }) plan.root = root;
  return even_plan<world>(plan, ranks, count, kind);
}
template <class Schedule>
fold_plan plan_shares(int ranks, std::size_t share, const element_kind&, int) {
  return shared_plan(Schedule{}, ranks, share);
}

template <class T, class Operation>
folding made(std::string_view collective, std::string_view algorithm) {
  return {collective,
          algorithm,
          allfold::type_name<Operation>(),
          &kind_of_element<T>,
          range_for<Operation, T>,
          std::same_as<Operation, sum_doubled> ? 2 : 1,
          nullptr,
          nullptr,
          &folded_bytes<T, Operation>};
}

/// A job whose ranks have random inputs of `elements` elements, and outputs of `results`.
inline job begun(const folding& what, int ranks, std::size_t elements, std::size_t results,
                 bool in_place, random_bits& random) {
  job it{what.collective,
         what.algorithm,
         what.operation,
         what.kind,
         what.call,
         0,
         0,
         in_place,
         {},
         {}};
  it.in_place = in_place;
  for (int rank = 0; rank < ranks; ++rank) {
    memory& mine = it.ranks.emplace_back();
    mine.input.resize(elements * what.kind->size);
    what.kind->fill(mine.input.data(), elements, random, what.values);
    if (!in_place) mine.output.resize(results * what.kind->size, std::byte{0xa5});
  }
  return it;
}

inline std::vector<const std::byte*> inputs_of(const job& it) {
  std::vector<const std::byte*> inputs;
  for (const memory& each : it.ranks) inputs.push_back(each.input.data());
  return inputs;
}

}  // namespace detail

template <class Algorithm, class T, class Operation>
folding all_reduce_by() {
  folding it = detail::made<T, Operation>("all_reduce", allfold::type_name<Algorithm>());
  // Whatever automatic takes folds in rank order, as direct does.
  using plan =
      std::conditional_t<std::is_same_v<Algorithm, allfold::automatic>, allfold::direct, Algorithm>;
  if constexpr (requires { plan::root; }) it.least_ranks = std::max(it.least_ranks, plan::root + 1);
  it.call = &detail::call_all_reduce<Algorithm, T, Operation>;
  it.plan = &detail::plan_evenly<plan>;
  return it;
}
template <class Algorithm, class T, class Operation>
folding reduce_by() {
  folding it = detail::made<T, Operation>("reduce", allfold::type_name<Algorithm>());
  it.call = &detail::call_reduce<Algorithm, T, Operation>;
  it.plan = &detail::plan_evenly<typename Algorithm::reduce>;
  return it;
}
template <class Algorithm, class T, class Operation>
folding reduce_scatter_by() {
  folding it = detail::made<T, Operation>("reduce_scatter", allfold::type_name<Algorithm>());
  it.call = &detail::call_reduce_scatter<Algorithm, T, Operation>;
  it.plan = &detail::plan_shares<typename Algorithm::reduce_scatter>;
  return it;
}

inline job all_reduce_job(const folding& what, int ranks, std::size_t count, bool in_place,
                          random_bits& random) {
  job it = detail::begun(what, ranks, count, count, in_place, random);
  it.count = count;
  const fold_plan plan = what.plan(ranks, count, *what.kind, 0);
  for (int rank = 0; rank < ranks; ++rank) {
    memory& mine = it.ranks[static_cast<std::size_t>(rank)];
    const memory& first = it.ranks.front();
    bytes& after = in_place ? mine.input_after : mine.output_after;
    // The same numbers are the same folds.
    if (rank > 0 && plan.held[static_cast<std::size_t>(rank)] == plan.held[0])
      after = in_place ? first.input_after : first.output_after;
    else
      after = what.expected(plan, rank, detail::inputs_of(it), mine.input);
  }
  return it;
}

/// Out of place, ranks other than the root have an output that must be left alone, or none.
inline job reduce_job(const folding& what, int ranks, std::size_t count, int root, bool in_place,
                      random_bits& random) {
  job it = detail::begun(what, ranks, count, count, in_place, random);
  it.count = count;
  it.root = root;
  for (int rank = 0; rank < ranks; ++rank)
    if (rank != root && random.below(2) == 0) it.ranks[static_cast<std::size_t>(rank)].output = {};
  memory& own = it.ranks[static_cast<std::size_t>(root)];
  (in_place ? own.input_after : own.output_after) = what.expected(
      what.plan(ranks, count, *what.kind, root), root, detail::inputs_of(it), own.input);
  return it;
}

/// Every rank gets `share` elements.
inline job reduce_scatter_job(const folding& what, int ranks, std::size_t share, bool in_place,
                              random_bits& random) {
  const std::size_t whole = share * static_cast<std::size_t>(ranks);
  job it = detail::begun(what, ranks, whole, share, in_place, random);
  it.count = share;
  const fold_plan plan = what.plan(ranks, share, *what.kind, 0);
  for (int rank = 0; rank < ranks; ++rank) {
    memory& mine = it.ranks[static_cast<std::size_t>(rank)];
    const bytes all = what.expected(plan, rank, detail::inputs_of(it), mine.input);
    if (in_place) {
      mine.input_after = mine.input;
    }
    bytes& after = in_place ? mine.input_after : mine.output_after;
    const auto size = static_cast<long>(share * what.kind->size);
    const auto own = all.begin() + rank * size;
    if (!in_place) after.resize(static_cast<std::size_t>(size));
    std::copy(own, own + size, after.begin() + (in_place ? rank * size : 0));
  }
  return it;
}

/// Carries out an all_reduce on up to 9 ranks with awkward counts, in place and out of place.
inline void try_all_reduce(const folding& what, failures& list) {
  random_bits random{what.kind->size + what.operation.size()};
  for (int ranks = what.least_ranks; ranks <= most_ranks; ++ranks) {
    std::vector<job> jobs;
    for (const std::size_t count : awkward_counts(ranks, *what.kind))
      for (const bool in_place : {false, true})
        jobs.push_back(all_reduce_job(what, ranks, count, in_place, random));
    carry_out(jobs, ranks, list);
  }
}

/// Carries out a reduce to every root on 1 to 9 ranks, in place and out of place; the awkward
/// counts take turns.
inline void try_reduce(const folding& what, failures& list) {
  random_bits random{what.kind->size + what.operation.size()};
  std::size_t turn = 0;
  for (int ranks = what.least_ranks; ranks <= most_ranks; ++ranks) {
    std::vector<job> jobs;
    const std::vector<std::size_t> counts = awkward_counts(ranks, *what.kind);
    for (int root = 0; root < ranks; ++root)
      for (int i = 0; i < 3; ++i, ++turn)
        jobs.push_back(reduce_job(what, ranks, counts[turn % counts.size()], root,
                                  random.below(2) == 0, random));
    carry_out(jobs, ranks, list);
  }
}

/// Carries out a reduce_scatter on 1 to 9 ranks with awkward counts, in place and out of place.
inline void try_reduce_scatter(const folding& what, failures& list) {
  random_bits random{what.kind->size + what.operation.size()};
  for (int ranks = what.least_ranks; ranks <= most_ranks; ++ranks) {
    std::vector<job> jobs;
    for (const std::size_t share : awkward_shares(ranks, *what.kind))
      for (const bool in_place : {false, true})
        jobs.push_back(reduce_scatter_job(what, ranks, share, in_place, random));
    carry_out(jobs, ranks, list);
  }
}

// The same for each type of a list.

template <class Algorithm, class Operation, class Types>
void try_all_reduce_of(Types elements, failures& list) {
  for_each(elements, [&](auto element) {
    using T = typename decltype(element)::of;
    try_all_reduce(all_reduce_by<Algorithm, T, Operation>(), list);
  });
}
template <class Algorithm, class Operation, class Types>
void try_reduce_of(Types elements, failures& list) {
  for_each(elements, [&](auto element) {
    using T = typename decltype(element)::of;
    try_reduce(reduce_by<Algorithm, T, Operation>(), list);
  });
}
template <class Algorithm, class Operation, class Types>
void try_reduce_scatter_of(Types elements, failures& list) {
  for_each(elements, [&](auto element) {
    using T = typename decltype(element)::of;
    try_reduce_scatter(reduce_scatter_by<Algorithm, T, Operation>(), list);
  });
}

}  // namespace test
