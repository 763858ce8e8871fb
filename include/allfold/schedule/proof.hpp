// Proves a schedule, at compile time if asked: complete, free of deadlock, free of races.
#pragma once

#include <allfold/schedule/happens_before.hpp>
#include <utility>

namespace allfold {

namespace detail {

/// Follows a schedule's trace and judges what it sees.
template <class Schedule>
class prover {
 public:
  constexpr prover(const Schedule& plan, int size, int pieces, bool in_place)
      : plan_{plan},
        size_{size},
        pieces_{pieces},
        chunks_{most_chunks(plan, size)},
        memory_{size, chunks_, pieces, in_place},
        order_{plan, size, pieces, memory_, chunks_, result_} {}
  prover(const prover&) = delete;
  prover& operator=(const prover&) = delete;

  constexpr proof run() {
    if (root_of(plan_) < 0 || root_of(plan_) >= size_) {
      result_.note(flaw::missing_contribution, root_of(plan_), -1, -1, -1);
      return result_;
    }
    contribute_inputs(memory_, plan_, size_, pieces_);
    const trace_end end = trace(plan_, size_, pieces_, *this);
    if (end.finished) {
      check_results();
    } else {
      result_.note(end.impossible ? flaw::impossible_wait : flaw::circular_wait, end.rank, end.peer,
                   end.index, -1);
      result_.complete = result_.rank_ordered = false;
    }
    return result_;
  }

  constexpr void operator()(const event& now) {
    if (now.kind == event::what::enter)
      order_.enter(now.rank);
    else
      order_.exit(now.rank);
  }
  constexpr void operator()(const event& now, const step& what) {
    if (!order_.complete(now, what)) return;
    if (!memory_.apply(what, now.piece))
      result_.note(flaw::reads_nothing, now.rank, -1, now.index, what.chunk);
  }

 private:
  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }
  static constexpr int most_chunks(const Schedule& plan, int size) {
    const int scratch = scratch_chunks_of(plan, size);
    return plan.chunks(size) > scratch ? plan.chunks(size) : scratch;
  }

  constexpr void check_results() {
    for (int rank = 0; rank < size_; ++rank)
      for (int chunk = 0; chunk < plan_.chunks(size_); ++chunk) {
        const expectation want = expected(Schedule::kind, root_of(plan_), rank, chunk);
        for (int piece = 0; want.anything && piece < pieces_; ++piece)
          check_result(want, rank, chunk, memory_.at(rank, buffer::output, chunk, piece));
      }
  }
  constexpr void check_result(const expectation& want, int rank, int chunk, int held) {
    if (held == fold_values::undefined) {
      result_.note(flaw::missing_contribution, rank, -1, -1, chunk);
      return;
    }
    if (want.everyone) {
      check_fold(rank, chunk, held);
      return;
    }
    const fold_values::value& it = memory_[held];
    const int bare = it.rank < 0 && it.count == 1 ? memory_.operand_of(it, 0) : held;
    if (memory_[bare].rank != want.rank || memory_[bare].chunk != want.chunk)
      result_.note(flaw::wrong_contribution, rank, memory_[bare].rank, -1, chunk);
  }
  constexpr void check_fold(int rank, int chunk, int held) {
    std::vector<int> counts(at(size_), 0);
    count(held, rank, chunk, counts, true);
    for (int peer = 0; peer < size_; ++peer) {
      if (counts[at(peer)] == 0) result_.note(flaw::missing_contribution, rank, peer, -1, chunk);
      if (counts[at(peer)] > 1) result_.note(flaw::folded_twice, rank, peer, -1, chunk);
    }
    if (!memory_[held].complete) result_.note(flaw::wrong_completion, rank, -1, -1, chunk);
    result_.rank_ordered = result_.rank_ordered && is_rank_ordered(memory_[held]);
  }
  constexpr void count(int number, int rank, int chunk, std::vector<int>& counts, bool top) {
    const fold_values::value& it = memory_[number];
    if (it.rank >= 0) {
      if (it.chunk != chunk) result_.note(flaw::wrong_contribution, rank, it.rank, -1, chunk);
      ++counts[at(it.rank)];
      return;
    }
    if (it.complete && !top) result_.note(flaw::wrong_completion, rank, -1, -1, chunk);
    for (int i = 0; i < it.count; ++i) count(memory_.operand_of(it, i), rank, chunk, counts, false);
  }
  constexpr bool is_rank_ordered(const fold_values::value& it) const {
    if (it.rank >= 0 || it.count != size_) return it.rank >= 0 && size_ == 1;
    for (int i = 0; i < it.count; ++i)
      if (memory_[memory_.operand_of(it, i)].rank != i) return false;
    return true;
  }

  Schedule plan_;
  int size_;
  int pieces_;
  int chunks_;
  fold_values memory_;
  proof result_;
  happens_before<Schedule> order_;
};

}  // namespace detail

/// Proves a schedule for `size` ranks and `pieces` pieces, both out of place and in place.
/// Constexpr: `static_assert(prove<my_schedule>(4).sound())`.
template <schedule Schedule>
constexpr proof prove(const Schedule& plan, int size, int pieces = 1) {
  proof found;
  for (const bool in_place : {false, true}) {
    if constexpr (requires { plan.in_place; })
      if (plan.in_place != in_place) continue;
    found = detail::prover<Schedule>{plan, size, pieces, in_place}.run();
    if (!found.sound()) break;
  }
  return found;
}
/// The same for a schedule that holds nothing.
template <schedule Schedule>
constexpr proof prove(int size, int pieces = 1) {
  return prove(Schedule{}, size, pieces);
}

namespace detail {

/// The longest lag of a schedule's steps.
template <class Schedule>
constexpr int longest_lag(const Schedule& plan, int size) {
  int longest = 0;
  for (int index = 0; index < plan.steps(size); ++index)
    longest = lag_of(plan, size, index) > longest ? lag_of(plan, size, index) : longest;
  return longest;
}

/// Whether all ranks come to their ends in so many pieces.
template <class Schedule>
constexpr bool ends(const Schedule& plan, int size, int pieces) {
  struct {
    constexpr void operator()(const event&) const {}
    constexpr void operator()(const event&, const step&) const {}
  } nothing;
  return trace(plan, size, pieces, nothing).finished;
}

/// Sound over `Size` ranks from root `Root`, in place and out of place. Where steps lag, a deadlock
/// may need more than one piece. One constant expression for each, because compilers limit how long
/// one may take.
template <schedule Schedule, int Size, int Root>
inline constexpr bool proven_from = [] {
  Schedule plan{};
  if constexpr (requires { plan.root = Root; }) plan.root = Root;
  const int lag = longest_lag(plan, Size);
  if (lag > 0 && !(ends(plan, Size, 2) && ends(plan, Size, 2 * lag + 2))) return false;
  if (!prove(plan, Size).sound()) return false;
  if constexpr (requires { plan.in_place = true; }) {
    plan.in_place = !plan.in_place;
    if (!prove(plan, Size).sound()) return false;
  }
  return true;
}();

template <schedule Schedule, int Size, int... Roots>
constexpr bool proven_over(std::integer_sequence<int, Roots...>) {
  if constexpr (requires(Schedule plan) { plan.root = 0; })
    return (proven_from<Schedule, Size, Roots> && ...);
  else
    return proven_from<Schedule, Size, 0>;
}

template <schedule Schedule, int First, int... More>
constexpr bool proven_for(std::integer_sequence<int, More...>) {
  return (proven_over<Schedule, First + More>(std::make_integer_sequence<int, First + More>{}) &&
          ...);
}

}  // namespace detail

/// True if a schedule is sound for 1 to 8 ranks, from every root if it has one to choose, in place
/// and out of place. Evaluated by the compiler, once per program unit that asks.
template <schedule Schedule>
inline constexpr bool proven = [] {
  constexpr int first = root_of(Schedule{}) + 1;
  constexpr int sizes = first < 7 ? 9 - first : 3;
  return detail::proven_for<Schedule, first>(std::make_integer_sequence<int, sizes>{});
}();

/// Refuses to compile a schedule that is not sound.
template <schedule Schedule>
constexpr void require_sound() {
  if constexpr (!trusted<Schedule>)
    static_assert(
        proven<Schedule>,
        "allfold: this schedule is not sound for 1 to 8 ranks; prove<Schedule>(ranks).what "
        "says why");
}

}  // namespace allfold
