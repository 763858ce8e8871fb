// Says in one sentence what a type lacks that would be a schedule.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold::detail {

/// True of a type that has some function of a schedule's, so that it is meant to be one.
template <class Type>
concept meant_as_schedule = requires(const Type plan, int n) {
  plan.chunks(n);
}
|| requires(const Type plan, int n) { plan.steps(n); }
|| requires(const Type plan, int n) { plan.at(n, n, n); }
|| requires(const Type plan, int n) { plan.exit(n, n); };

template <class Schedule>
constexpr void require_schedule() {
  static_assert(
      requires {
        requires collective { Schedule::kind }
        == Schedule::kind;
      },
      "allfold: a schedule has a kind, a constant that is a collective");
  static_assert(
      requires {
        { Schedule::name } -> std::convertible_to<std::string_view>;
      },
      "allfold: a schedule has a name, a constant that is a std::string_view");
  static_assert(
      requires(const Schedule plan, int n) {
        { plan.chunks(n) } -> std::same_as<int>;
      },
      "allfold: a schedule has chunks(size), const, which returns an int");
  static_assert(
      requires(const Schedule plan, int n) {
        { plan.steps(n) } -> std::same_as<int>;
      },
      "allfold: a schedule has steps(size), const, which returns an int");
  static_assert(
      requires(const Schedule plan, int n) {
        { plan.at(n, n, n) } -> std::same_as<step>;
      },
      "allfold: a schedule has at(rank, size, index), const, which returns a step");
  static_assert(
      requires(const Schedule plan, int n) {
        { plan.exit(n, n) } -> std::same_as<waits>;
      },
      "allfold: a schedule has exit(rank, size), const, which returns waits");
}

}  // namespace allfold::detail
