// What all collectives share: which arguments they take, how they are checked, how they are run.
#pragma once

#include <allfold/collective/native.hpp>
#include <allfold/collective/short_message.hpp>
#include <allfold/communicator/call.hpp>
#include <allfold/communicator/concepts.hpp>
#include <allfold/elements.hpp>
#include <allfold/error.hpp>
#include <allfold/execution/host.hpp>
#include <allfold/schedule/automatic.hpp>
#include <allfold/schedule/proof.hpp>
#include <allfold/schedule/requirements.hpp>
#include <span>

namespace allfold {

namespace detail {

template <contiguous Range>
inline constexpr bool is_writable =
    !std::is_const_v<std::remove_pointer_t<decltype(span_of(std::declval<Range&>()).data())>>;

/// Refuses element types that can't be moved as bytes, and ranges that can't be written.
template <class World, contiguous Output>
constexpr void require_elements() {
  constexpr memory_space ranks = std::remove_cvref_t<World>::space;
  constexpr memory_space range = decltype(span_of(std::declval<Output&>()))::space;
  static_assert(
      ranks == memory_space::host || range == memory_space::device,
      "allfold: this range lies in host memory, but the communicator's ranks are devices");
  static_assert(ranks == memory_space::device || range == memory_space::host,
                "allfold: this range lies in a device's memory, but the communicator's ranks are "
                "host threads");
  static_assert(std::is_trivially_copyable_v<element_of<Output>>,
                "allfold: elements must be trivially copyable, since ranks copy them as bytes");
  static_assert(alignof(element_of<Output>) <= 64,
                "allfold: elements must not ask for more than a cache line's alignment");
  static_assert(is_writable<Output>, "allfold: the result is written here, so it can't be const");
}
template <class World, contiguous Input, contiguous Output>
constexpr void require_same_elements() {
  require_elements<World, Output>();
  static_assert(std::is_same_v<element_of<Input>, element_of<Output>>,
                "allfold: input and output must have the same element type");
  static_assert(decltype(span_of(std::declval<Input&>()))::space ==
                    decltype(span_of(std::declval<Output&>()))::space,
                "allfold: input and output must lie in the same kind of memory");
}
template <class World, class Algorithm>
constexpr void require_all_reduce() {
  if constexpr (meant_as_schedule<Algorithm>) require_schedule<Algorithm>();
  static_assert(all_reduce_algorithm<Algorithm>,
                "allfold: this is not an algorithm for all_reduce");
  static_assert(!has_engine<World> || std::is_same_v<Algorithm, native> ||
                    std::is_same_v<Algorithm, automatic>,
                "allfold: this communicator has an engine of its own; take native or automatic");
  static_assert(has_engine<World> || !std::is_same_v<Algorithm, native>,
                "allfold: this communicator has no engine of its own; native is not for it");
}
template <class Operation, class T>
constexpr void require_operation() {
  static_assert(operation_on<Operation, T>,
                "allfold: the operation must be callable with two elements and return one");
}

/// Where a collective was called, for its errors.
struct call_site {
  collective what;
  std::source_location where;
};

/// Throws a usage_error that names the rank, the collective and the caller, and tells every other
/// rank.
template <class World>
[[noreturn]] void misuse(World& world, const call_site& site, const std::string& text) {
  world.abort(std::string{name_of(site.what)} + " at " + place_of(site.where) + ": " + text);
  throw usage_error{"allfold: rank " + std::to_string(world.rank()) + ", " +
                    std::string{name_of(site.what)} + " at " + place_of(site.where) + ": " + text};
}

template <class World>
void check_root(World& world, int root, const call_site& site) {
  if (root != 0 && (root < 0 || root >= world.size()))
    misuse(world, site,
           "there is no rank " + std::to_string(root) + " to be the root among " +
               std::to_string(world.size()) + " ranks");
}

template <class World>
void check_size(World& world, std::size_t given, std::size_t wanted, const char* name,
                const call_site& site) {
  if (given != wanted)
    misuse(world, site,
           std::string{"the "} + name + " has " + std::to_string(given) + " elements where " +
               std::to_string(wanted) + " are needed");
}

/// The elements per rank of a range that is divided over all ranks.
template <class World>
std::size_t checked_share(World& world, std::size_t whole, const char* name,
                          const call_site& site) {
  const auto ranks = static_cast<std::size_t>(world.size());
  if (whole % ranks != 0)
    misuse(world, site,
           std::string{"the "} + name + " has " + std::to_string(whole) +
               " elements, which can't be divided evenly over " + std::to_string(ranks) + " ranks");
  return whole / ranks;
}

/// Input and output must be the same memory or apart.
template <class World, class Input, class Output>
void check_overlap(World& world, const Input& input, const Output& output,
                   const element_of<Output>* in_place, const call_site& site) {
  const auto in = span_of(input);
  const auto out = span_of(output);
  if (in.empty() || out.empty() || in.data() == in_place) return;
  const auto begin = [](auto it) { return reinterpret_cast<std::uintptr_t>(it.data()); };
  const auto end = [&](auto it) { return begin(it) + it.size_bytes(); };
  if (begin(in) < end(out) && begin(out) < end(in))
    misuse(world, site, "input and output overlap without being the same elements");
}

/// Counts per rank: one for each, adding up to what the whole has.
template <class World>
void check_counts(World& world, std::span<const std::size_t> counts, const call_site& site) {
  if (counts.size() != static_cast<std::size_t>(world.size()))
    misuse(world, site,
           std::to_string(counts.size()) + " counts are given for " + std::to_string(world.size()) +
               " ranks");
}
constexpr std::size_t total_of(std::span<const std::size_t> counts) {
  std::size_t total = 0;
  for (const std::size_t count : counts) total += count;
  return total;
}
constexpr std::uint64_t hash_of_counts(std::span<const std::size_t> counts) {
  std::uint64_t hash = 1;
  for (const std::size_t count : counts)
    hash = (hash ^ static_cast<std::uint64_t>(count)) * 0x100000001b3u + 1;
  return hash;
}

/// Runs a schedule over a partition that is made already.
template <class T, class World, class Schedule, class Operation>
void run(World& world, const Schedule& plan, const T* input, T* output, const partition& parts,
         const Operation& operation, call said) {
  if constexpr (meant_as_schedule<Schedule>) require_schedule<Schedule>();
  static_assert(schedule<Schedule> || meant_as_schedule<Schedule>,
                "allfold: this communicator has no engine of its own; native is not for it");
  require_sound<Schedule>();
  said.kind = &kind_of_call<Schedule, T, Operation>;
  said.root = root_of(plan);
  if constexpr (requires { plan.in_place; }) said.in_place = plan.in_place;
  const auto scratch = static_cast<std::size_t>(scratch_chunks_of(plan, world.size()));
  const std::size_t slot = given<Schedule>(plan, parts, world.rank(), said.count) * sizeof(T);
  const std::size_t scratch_bytes = scratch == 0 ? 0 : scratch * parts.longest() * sizeof(T);
  world.template run<T>(plan, {input, output, slot, scratch_bytes}, parts, operation, said);
}

/// As many pieces as the schedule likes, or as the communicator does that it runs on.
template <class World, class Schedule>
constexpr int pieces_of(const Schedule& plan, int size, std::size_t bytes) {
  if constexpr (!requires { Schedule::piece_bytes; })
    return 1;
  else if constexpr (requires { World::piece_bytes(size, 1); })
    return pieces_for(plan, size, bytes, World::piece_bytes(size, plan.chunks(size)));
  else
    return pieces_for(plan, size, bytes);
}

/// Elements whose chunks are the library's own affair: bounds fall on cache lines.
template <class T, class World, class Schedule, class Operation>
void run_in_chunks(World& world, const Schedule& plan, const T* input, T* output, std::size_t count,
                   const Operation& operation, std::source_location where) {
  if constexpr (has_small<T, World, Schedule>)
    if (count * sizeof(T) <= longest_small(world, Schedule::kind)) {
      run_in_chunks(world, small_of(plan), input, output, count, operation, where);
      return;
    }
  constexpr std::size_t granule = sizeof(T) >= 64 ? 1 : 64 / sizeof(T);
  const partition parts{count, plan.chunks(world.size()),
                        pieces_of<World>(plan, world.size(), count * sizeof(T)), granule};
  run(world, plan, input, output, parts, operation, {.count = count, .where = where});
}

/// Calls `run` with the schedule that a table names for this communicator and message.
template <class World, class Choice, class Run>
void decide(const World& world, const Choice& plan, std::size_t bytes, Run&& run) {
  if constexpr (requires { world.crowded(); })
    plan.template decide<true>(world.size(), bytes, world.crowded(), run);
  else
    plan.template decide<false>(world.size(), bytes, false, run);
}

/// Elements of which no rank has a share of its own.
template <class T, class World, class Schedule, class Operation>
void run_evenly(World& world, const Schedule& plan, const T* input, T* output, std::size_t count,
                const Operation& operation, std::source_location where) {
  if constexpr (is_handed_calls<World>)
    run_natively(world, plan, input, output, count, {}, operation,
                 {.count = count, .where = where});
  else if constexpr (is_choice<Schedule>)
    decide(world, plan, count * sizeof(T), [&](const auto& chosen) {
      check_root(world, root_of(chosen), {Schedule::kind, where});
      run_in_chunks(world, chosen, input, output, count, operation, where);
    });
  else
    run_in_chunks(world, plan, input, output, count, operation, where);
}

/// Elements of which every rank has `share`.
template <class T, class World, class Schedule, class Operation>
void run_by_rank(World& world, const Schedule& plan, const T* input, T* output, std::size_t share,
                 const Operation& operation, std::source_location where) {
  const call said{.count = share, .where = where};
  if constexpr (is_handed_calls<World>) {
    run_natively(world, plan, input, output, share, {}, operation, said);
  } else if constexpr (is_choice<Schedule>) {
    decide(world, plan, share * sizeof(T) * static_cast<std::size_t>(world.size()),
           [&](const auto& chosen) {
             run_by_rank(world, chosen, input, output, share, operation, where);
           });
  } else {
    const std::size_t whole = share * static_cast<std::size_t>(world.size());
    const partition parts{whole, world.size(), 1, 1};
    if constexpr (has_small<T, World, Schedule>) {
      const std::size_t gives = holds_own_chunk(Schedule::kind, buffer::input) ? share : whole;
      if (gives * sizeof(T) <= longest_small(world, Schedule::kind)) {
        run(world, small_of(plan), input, output, parts, operation, said);
        return;
      }
    }
    run(world, plan, input, output, parts, operation, said);
  }
}

/// Elements of which rank r has counts[r].
template <class T, class World, class Schedule>
void run_by_counts(World& world, const Schedule& plan, const T* input, T* output,
                   std::span<const std::size_t> counts, std::source_location where) {
  const call said{.count = total_of(counts), .counts_hash = hash_of_counts(counts), .where = where};
  if constexpr (is_handed_calls<World>)
    run_natively(world, plan, input, output, said.count, counts, sum{}, said);
  else if constexpr (is_choice<Schedule>)
    decide(world, plan, said.count * sizeof(T),
           [&](const auto& chosen) { run_by_counts(world, chosen, input, output, counts, where); });
  else
    run(world, plan, input, output, partition{counts.data(), world.size()}, sum{}, said);
}

/// Where rank r's chunk begins.
inline std::size_t begin_of(std::span<const std::size_t> counts, int rank) {
  return total_of(counts.first(static_cast<std::size_t>(rank)));
}

}  // namespace detail
}  // namespace allfold
