#include "algorithms.hpp"
#include "plan.hpp"
#include "worlds.hpp"

#include <optional>
#include <stdexcept>

namespace bench {
namespace {

template <class Schedule>
fold_plan planned(const Schedule& plan, int ranks, const allfold::partition& parts) {
  fold_plan made{ranks, parts.chunks(), allfold::fold_order(plan, ranks), {}};
  for (int piece = 0; piece < parts.pieces(); ++piece)
    for (int chunk = 0; chunk < parts.chunks(); ++chunk)
      made.stretches.push_back({parts.of(chunk, 1, piece), chunk});
  return made;
}

/// Elements of which no rank has a share of its own: short messages go another way, and chunks end
/// on cache lines.
template <class World, class Schedule>
fold_plan plan_evenly(const Schedule& plan, int ranks, std::size_t count, std::size_t bytes) {
  if constexpr (requires { typename Schedule::small; })
    if (count * bytes <= World::small_bytes)
      return plan_evenly<World>(allfold::detail::small_of(plan), ranks, count, bytes);
  const int pieces = allfold::detail::pieces_of<World>(plan, ranks, count * bytes);
  return planned(plan, ranks, {count, plan.chunks(ranks), pieces, 64 / bytes});
}

/// Whatever `automatic` takes folds in rank order, as `direct` does.
template <class Algorithm>
using folds_like =
    std::conditional_t<std::is_same_v<Algorithm, allfold::automatic>, allfold::direct, Algorithm>;

}  // namespace

int fold_plan::value_of(int rank, int chunk) const {
  const int number = values.at(rank, allfold::buffer::output, chunk, 0);
  if (number == allfold::fold_values::undefined)
    throw std::logic_error{"the schedule leaves a part of the result undefined"};
  return number;
}

template <class World>
fold_plan plan_of(allfold::collective what, std::string_view algorithm, int ranks,
                  std::size_t count, std::size_t element_bytes, int root) {
  using enum allfold::collective;
  std::optional<fold_plan> made;
  for_each_algorithm([&]<class Algorithm>() {
    if (algorithm != algorithm_name<Algorithm>) return;
    if constexpr (offers<Algorithm, all_reduce>())
      if (what == all_reduce)
        made = plan_evenly<World>(folds_like<Algorithm>{}, ranks, count, element_bytes);
    if constexpr (offers<Algorithm, reduce>())
      if (what == reduce)
        made = plan_evenly<World>(typename Algorithm::reduce{.root = root}, ranks, count,
                                  element_bytes);
    if constexpr (offers<Algorithm, reduce_scatter>())
      if (what == reduce_scatter)
        made = planned(typename Algorithm::reduce_scatter{}, ranks,
                       {count * static_cast<std::size_t>(ranks), ranks, 1, 1});
  });
  if (!made) throw std::logic_error{"no such fold"};
  return *made;
}

template fold_plan plan_of<threads_world>(allfold::collective, std::string_view, int, std::size_t,
                                          std::size_t, int);

}  // namespace bench
