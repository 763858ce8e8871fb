// One level's part of a collective over several nodes.
#pragma once

#include <algorithm>
#include <allfold/collective/common.hpp>
#include <allfold/communicator/nodes.hpp>

namespace allfold::detail {

/// A communicator of one level during one call of the whole: `World` carries out collectives by
/// `Algorithm`, and its ranks tell each other of the whole's call, so that they compare that, and
/// errors speak of it. An error of this level fails the others too. The elements' type is that of
/// the pointers.
template <class World, class Algorithm, class Whole>
class level {
  static_assert(!allfold::has_engine<World> || std::is_same_v<Algorithm, automatic> ||
                    std::is_same_v<Algorithm, allfold::native>,
                "allfold: across nodes there is an engine; take hierarchical<…, native> or "
                "hierarchical<…, automatic>");

 public:
  /// `which`: for messages. `said` must outlive it.
  level(World& world, Whole& whole, nodes::tier which, const call& said)
      : world_{world}, whole_{whole}, which_{which}, said_{said} {}

  int rank() const { return world_.rank(); }
  int size() const { return world_.size(); }

  // The collectives. A pointer is null where the rank gives or gets nothing.

  /// `count` elements of which no rank has a share of its own.
  template <collective Kind, class T, class Operation = sum>
  void evenly(const T* input, T* output, std::size_t count, int root = 0,
              const Operation& operation = {}) {
    run_evenly<T>(*this, level_schedule<Kind, Algorithm>(root), input, output, count, operation,
                  said_.where);
  }
  /// Elements of which every rank has `share`.
  template <collective Kind, class T, class Operation = sum>
  void by_rank(const T* input, T* output, std::size_t share, int root = 0,
               const Operation& operation = {}) {
    run_by_rank<T>(*this, level_schedule<Kind, Algorithm>(root), input, output, share, operation,
                   said_.where);
  }
  /// Elements of which rank r has counts[r].
  template <collective Kind, class T>
  void by_counts(const T* input, T* output, std::span<const std::size_t> counts, int root = 0) {
    const std::size_t first = counts.front();
    if (std::all_of(counts.begin(), counts.end(), [&](std::size_t each) { return each == first; }))
      return by_rank<Kind>(input, output, first, root);  // which may be faster
    run_by_counts<T>(*this, level_schedule<Kind, Algorithm>(root), input, output, counts,
                     said_.where);
  }
  /// Elements of which rank r has chunk r of `parts`. Not for engines.
  template <collective Kind, class T, class Operation = sum>
  void in_parts(const T* input, T* output, const partition& parts, int root = 0,
                const Operation& operation = {}) {
    run_in_parts(level_schedule<Kind, Algorithm>(root), input, output, parts, operation);
  }
  /// A whole call, as it came.
  template <collective Kind, class T, class Operation>
  void as_given(const engine_call<Kind, T>& it, const Operation& operation) {
    auto plan = level_schedule<Kind, Algorithm>(it.root);
    if constexpr (requires { plan.in_place = true; }) plan.in_place = it.in_place;
    if constexpr (Kind == collective::all_reduce || Kind == collective::reduce ||
                  Kind == collective::broadcast || Kind == collective::barrier)
      run_evenly<T>(*this, plan, it.input, it.output, it.count, operation, said_.where);
    else if (it.counts.empty())
      run_by_rank<T>(*this, plan, it.input, it.output, it.count, operation, said_.where);
    else if constexpr (!folds(Kind) && Kind != collective::all_to_all)
      run_by_counts<T>(*this, plan, it.input, it.output, it.counts, said_.where);
  }
  /// A schedule that is known to be sound, over parts of which rank r has chunk r.
  template <class T, class Schedule, class Operation>
  void by_schedule(const Schedule& plan, const T* input, T* output, const partition& parts,
                   const Operation& operation) {
    run<T>(plan, host::operands{input, output}, parts, operation, said_);
  }

  // What collectives ask of a communicator.

  static constexpr memory_space space = World::space;
  static constexpr bool has_engine = allfold::has_engine<World>;
  static constexpr std::size_t small_bytes = 0;
  static constexpr bool has_slots_for(collective what) {
    return !has_engine && detail::has_slots_for<World>(what);
  }
  static constexpr std::size_t piece_bytes(int size, int chunks) requires requires {
    World::piece_bytes(size, chunks);
  }
  { return World::piece_bytes(size, chunks); }
  std::size_t small_bytes_of(collective what) const { return longest_small(world_, what); }
  bool crowded() const requires requires(const World& world) { world.crowded(); }
  { return world_.crowded(); }
  void abort(const std::string& why) { world_.abort(why); }

  template <class T, class Schedule, class Operation>
  void run(const Schedule& plan, const host::operands& memory, const partition& parts,
           const Operation& operation, const call&) {
    guarded([&] { world_.template run<T>(plan, memory, parts, operation, said_); });
  }
  template <collective Kind, class T, class Operation>
  void native(engine_call<Kind, T> it, const Operation& operation) {
    it.said = said_;
    guarded([&] { world_.native(it, operation); });
  }
  /// Does something with the level's communicator.
  template <class Work>
  void guarded(Work work) {
    nodes::presence there;
    whole_.show(which_, there);
    try {
      work();
    } catch (...) {
      whole_.fail_from(which_, said_);
    }
  }

 private:
  template <class T, class Schedule, class Operation>
  void run_in_parts(const Schedule& plan, const T* input, T* output, const partition& parts,
                    const Operation& operation) {
    if constexpr (is_choice<Schedule>)
      decide(*this, plan, parts.begin(parts.chunks(), 0) * sizeof(T),
             [&](const auto& chosen) { run_in_parts(chosen, input, output, parts, operation); });
    else
      detail::run(*this, plan, input, output, parts, operation, said_);
  }

  World& world_;
  Whole& whole_;
  nodes::tier which_;
  const call& said_;
};

}  // namespace allfold::detail
