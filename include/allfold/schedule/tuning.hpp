// An algorithm that is another one for each number of ranks and size of message, by a table.
#pragma once

#include <allfold/schedule/step.hpp>
#include <limits>
#include <type_traits>

namespace allfold {

/// When a rule applies.
struct when {
  int ranks = 1;         ///< so many, or more
  std::size_t from = 0;  ///< bytes of the message; where it is divided, of all ranks' parts: …
  std::size_t to = std::numeric_limits<std::size_t>::max();  ///< … from … to, both included
  bool crowded = false;  ///< only where there are more ranks than cores
};

/// Take `Algorithm` in these cases.
template <class Algorithm, when Case = when{}>
struct rule {
  using algorithm = Algorithm;
  static constexpr when applies = Case;
};

/// The first rule that applies is followed; the last one otherwise, whatever its case.
template <class... Rules>
struct rules {
  static_assert(sizeof...(Rules) > 0, "allfold: a table needs a rule");
};

namespace detail {

/// The schedule that an algorithm has for a collective.
template <collective Kind, class Algorithm>
constexpr auto schedule_of() {
  if constexpr (Kind == collective::all_reduce) return Algorithm{};
  if constexpr (Kind == collective::reduce) return typename Algorithm::reduce{};
  if constexpr (Kind == collective::broadcast) return typename Algorithm::broadcast{};
  if constexpr (Kind == collective::reduce_scatter) return typename Algorithm::reduce_scatter{};
  if constexpr (Kind == collective::all_gather) return typename Algorithm::all_gather{};
  if constexpr (Kind == collective::scatter) return typename Algorithm::scatter{};
  if constexpr (Kind == collective::gather) return typename Algorithm::gather{};
  if constexpr (Kind == collective::all_to_all) return typename Algorithm::all_to_all{};
  if constexpr (Kind == collective::barrier) return typename Algorithm::barrier{};
}

/// A schedule with another's root, or what else one is told when it is made.
template <class Schedule, class Other>
constexpr Schedule made_like(const Other& plan) {
  if constexpr (requires { Schedule{.root = plan.root}; })
    return Schedule{.root = plan.root};
  else if constexpr (requires { Schedule{.in_place = plan.in_place}; })
    return Schedule{.in_place = plan.in_place};
  else
    return Schedule{};
}

/// Stands where a schedule would, until a call says how many ranks and bytes there are.
template <collective Kind, class Rules>
struct choice;
template <collective Kind, class... Rules>
struct choice<Kind, rules<Rules...>> {
  static constexpr collective kind = Kind;
  static constexpr std::string_view name = "tuned";
  static constexpr bool chooses = true;
  int root = 0;           ///< where the collective has one
  bool in_place = false;  ///< of an all_to_all

  /// Calls `visit` with the schedule to take. `Crowds`: there can be more ranks than cores; where
  /// not, nothing is compiled for that.
  template <bool Crowds, class Visit>
  constexpr void decide(int ranks, std::size_t bytes, bool crowded, Visit&& visit) const {
    using last = typename decltype((std::type_identity<Rules>{}, ...))::type;
    const auto follow = [&]<class Rule>(std::type_identity<Rule>) {
      constexpr when in = Rule::applies;
      constexpr bool otherwise = std::is_same_v<Rule, last>;
      if constexpr (otherwise || Crowds || !in.crowded) {
        if (!otherwise &&
            (ranks < in.ranks || bytes < in.from || bytes > in.to || (in.crowded && !crowded)))
          return false;
        visit(made_like<decltype(schedule_of<Kind, typename Rule::algorithm>())>(*this));
        return true;
      } else {
        return false;
      }
    };
    (void)(follow(std::type_identity<Rules>{}) || ...);
  }
};

/// Where there is but one rule, its schedule.
template <collective Kind, class Rules>
struct tuned_schedule {
  using type = choice<Kind, Rules>;
};
template <collective Kind, class Algorithm, when Case>
struct tuned_schedule<Kind, rules<rule<Algorithm, Case>>> {
  using type = decltype(schedule_of<Kind, Algorithm>());
};
template <collective Kind, class Rules>
using tuned_schedule_t = typename tuned_schedule<Kind, Rules>::type;

template <class Schedule>
inline constexpr bool is_choice = requires {
  requires Schedule::chooses;
};

}  // namespace detail

/// The algorithm of a table: a type with `rules` for every collective, by its name, such as
/// `default_tuning`. Algorithms that no rule names are not compiled.
template <class Table>
struct tuned : detail::tuned_schedule_t<collective::all_reduce, typename Table::all_reduce> {
  template <collective Kind, class Rules>
  using of = detail::tuned_schedule_t<Kind, Rules>;
  using reduce = of<collective::reduce, typename Table::reduce>;
  using broadcast = of<collective::broadcast, typename Table::broadcast>;
  using reduce_scatter = of<collective::reduce_scatter, typename Table::reduce_scatter>;
  using all_gather = of<collective::all_gather, typename Table::all_gather>;
  using scatter = of<collective::scatter, typename Table::scatter>;
  using gather = of<collective::gather, typename Table::gather>;
  using all_to_all = of<collective::all_to_all, typename Table::all_to_all>;
  using barrier = of<collective::barrier, typename Table::barrier>;
};

}  // namespace allfold
