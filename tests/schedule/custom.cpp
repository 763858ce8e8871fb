// Schedules that are not the library's: how little one must say, what is refused, what is proven.
#include "schedules.hpp"

#include <doctest/doctest.h>

#include <string_view>

namespace {

using namespace allfold;

/// An all-reduce around rank 0, which folds all inputs; then the others copy its result.
struct star {
  static constexpr collective kind = collective::all_reduce;
  static constexpr std::string_view name = "star";

  constexpr int chunks(int) const { return 1; }
  constexpr int steps(int) const { return 2; }
  constexpr step at(int rank, int size, int index) const {
    if ((rank == 0) != (index == 0)) return {};
    if (index == 0)
      return step{}
          .from(every(size), buffer::input)
          .to(only(0), buffer::output)
          .after(every(size), entered)
          .complete();
    return step{}.from(only(0), buffer::output).to(only(rank), buffer::output).after(only(0), 0);
  }
  constexpr waits exit(int rank, int size) const {
    waits list;
    if (rank == 0) list.push({every_other(0, size), 1});
    return list;
  }
};

/// A broadcast along a ring in both directions at once, for any root.
struct both_ways {
  static constexpr collective kind = collective::broadcast;
  static constexpr std::string_view name = "both_ways";
  int root = 0;

  constexpr int chunks(int) const { return 1; }
  constexpr int steps(int) const { return 1; }
  constexpr step at(int rank, int size, int) const {
    if (rank == root) return step{}.from(only(rank), buffer::input).to(only(rank), buffer::output);
    const int place = wrap(rank - root, size);
    const int from = place <= size / 2 ? wrap(rank - 1, size) : wrap(rank + 1, size);
    return step{}
        .from(only(from), buffer::output)
        .to(only(rank), buffer::output)
        .after(only(from), 0);
  }
  constexpr waits exit(int rank, int size) const {
    const int place = wrap(rank - root, size);
    waits list;
    if (place < size / 2) list.push({only(wrap(rank + 1, size)), 0});
    if (place == 0 ? size > 2 : place > size / 2 + 1) list.push({only(wrap(rank - 1, size)), 0});
    return list;
  }
};

/// An all-reduce over 2, 4, 8 or 16 ranks: pairs exchange what they have folded, neighbours first,
/// each time with a partner twice as far. Partial folds lie in scratch memory until nobody reads
/// the inputs any more.
struct exchange {
  static constexpr collective kind = collective::all_reduce;
  static constexpr std::string_view name = "exchange";

  constexpr int chunks(int) const { return 1; }
  constexpr int steps(int size) const { return rounds(size) + 1; }
  constexpr int scratch_chunks(int size) const { return rounds(size); }
  constexpr step at(int rank, int size, int index) const {
    if (index == rounds(size))
      return step{}
          .from(only(rank), buffer::scratch, index - 1)
          .to(only(rank), buffer::output)
          .after(only(rank ^ 1), 0);
    const int other = rank ^ (1 << index);
    const buffer where = index == 0 ? buffer::input : buffer::scratch;
    const int chunk = index == 0 ? 0 : index - 1;
    return step{}
        .from(only(rank & ~(1 << index)), where, chunk)
        .from(only(rank | 1 << index), where, chunk)
        .to(only(rank), buffer::scratch, index)
        .after(only(other), index - 1)
        .complete(index == rounds(size) - 1);
  }
  constexpr waits exit(int rank, int size) const {
    waits list;
    for (int index = 1; index < rounds(size); ++index)
      list.push({only(rank ^ (1 << index)), index});
    return list;
  }

 private:
  static constexpr int rounds(int size) {
    int all = 0;
    while ((2 << all) <= size) ++all;
    return all;
  }
};

/// As little as a schedule can say.
struct minimal {
  static constexpr collective kind = collective::barrier;
  [[maybe_unused]] static constexpr const char* name = "minimal";

  int chunks(int) const { return 1; }
  int steps(int) const { return 0; }
  step at(int, int, int) const { return {}; }
  waits exit(int, int) const { return {}; }
};

struct without_kind {
  [[maybe_unused]] static constexpr std::string_view name = "without kind";
  int chunks(int) const { return 1; }
  int steps(int) const { return 0; }
  step at(int, int, int) const { return {}; }
  waits exit(int, int) const { return {}; }
};
struct without_name {
  static constexpr collective kind = collective::barrier;
  int chunks(int) const { return 1; }
  int steps(int) const { return 0; }
  step at(int, int, int) const { return {}; }
  waits exit(int, int) const { return {}; }
};
struct without_exit {
  static constexpr collective kind = collective::barrier;
  static constexpr std::string_view name = "without exit";
  int chunks(int) const { return 1; }
  int steps(int) const { return 0; }
  step at(int, int, int) const { return {}; }
};

// Each is minimal but for one thing.
struct with_a_number_for_kind : minimal {
  static constexpr int kind = 8;
};
struct with_a_number_for_name : minimal {
  static constexpr int name = 8;
};
struct with_a_secret_kind : minimal {
 private:
  static constexpr collective kind = collective::barrier;
};
struct without_chunks : minimal {
  int chunks(int) const = delete;
};
struct without_steps : minimal {
  int steps(int) const = delete;
};
struct without_at : minimal {
  step at(int, int, int) const = delete;
};
struct with_long_chunks : minimal {
  long chunks(int) const { return 1; }
};
struct with_unsigned_steps : minimal {
  unsigned steps(int) const { return 0; }
};
struct with_steps_of_any_size : minimal {
  int steps() const { return 0; }
};
struct with_steps_that_change : minimal {
  int steps(int) { return 0; }
};
struct with_at_that_changes : minimal {
  step at(int, int, int) { return {}; }
};
struct with_at_by_reference : minimal {
  const step& at(int, int, int) const { return one; }
  step one;
};
struct with_a_list_of_steps : minimal {
  few<step, 2> at(int, int, int) const { return {}; }
};
struct with_at_without_size : minimal {
  step at(int, int) const { return {}; }
};
struct with_exit_of_nothing : minimal {
  void exit(int, int) const {}
};
struct with_exit_of_one_wait : minimal {
  wait exit(int, int) const { return {}; }
};

static_assert(schedule<minimal>);
static_assert(schedule<star> && schedule<both_ways> && schedule<exchange>);
static_assert(!schedule<int>);
static_assert(!schedule<without_kind>);
static_assert(!schedule<without_name>);
static_assert(!schedule<without_exit>);
static_assert(!schedule<with_a_number_for_kind>);
static_assert(!schedule<with_a_number_for_name>);
static_assert(!schedule<with_a_secret_kind>);
static_assert(!schedule<without_chunks>);
static_assert(!schedule<without_steps>);
static_assert(!schedule<without_at>);
static_assert(!schedule<with_long_chunks>);
static_assert(!schedule<with_unsigned_steps>);
static_assert(!schedule<with_steps_of_any_size>);
static_assert(!schedule<with_steps_that_change>);
static_assert(!schedule<with_at_that_changes>);
static_assert(!schedule<with_at_by_reference>);
static_assert(!schedule<with_a_list_of_steps>);
static_assert(!schedule<with_at_without_size>);
static_assert(!schedule<with_exit_of_nothing>);
static_assert(!schedule<with_exit_of_one_wait>);

// The compiler proves them as it does the library's.
static_assert(proven<star>);
static_assert(proven<both_ways>);
static_assert(prove<star>(8).rank_ordered);
static_assert(prove<exchange>(8).sound());

// It believes the library, but nobody who only derives from it.
struct of_ring : ring {};
struct of_primary_reduce : primary<0>::reduce {};
static_assert(trusted<ring> && trusted<direct> && trusted<primary<7>>);
static_assert(trusted<primary<7>::reduce> && trusted<direct::all_to_all>);
static_assert(!trusted<star> && !trusted<minimal>);
static_assert(!trusted<of_ring> && !trusted<of_primary_reduce>);

// Every root is proven, both places, and roots beyond 8 ranks too.
struct broken_from_other_roots : ring::broadcast {
  constexpr waits exit(int rank, int size) const {
    return root == 0 ? ring::broadcast::exit(rank, size) : waits{};
  }
};
struct broken_in_place : direct::all_to_all {
  constexpr waits exit(int rank, int size) const {
    return in_place ? waits{} : direct::all_to_all::exit(rank, size);
  }
};
struct broken_far_away : primary<9> {
  constexpr waits exit(int, int) const { return {}; }
};
static_assert(prove<broken_from_other_roots>(4).sound() && !proven<broken_from_other_roots>);
static_assert(prove<broken_in_place>(4).sound() && !proven<broken_in_place>);
static_assert(proven<primary<9>> && !proven<broken_far_away>);

}  // namespace

TEST_CASE("a star is sound over any number of ranks") {
  for (int size = 1; size <= 32; ++size)
    for (const int pieces : {1, 3}) {
      INFO(size, " ranks, ", pieces, " pieces");
      CHECK(verdict(prove(star{}, size, pieces)) == "sound");
      CHECK(prove(star{}, size, pieces).rank_ordered);
    }
}

TEST_CASE("a broadcast in both directions is sound over any number of ranks, from any root") {
  for (int size = 1; size <= 32; ++size)
    for (int root = 0; root < size; ++root)
      for (const int pieces : {1, 3}) {
        INFO(size, " ranks, root ", root, ", ", pieces, " pieces");
        CHECK(verdict(prove(both_ways{root}, size, pieces)) == "sound");
      }
}

TEST_CASE("an exchange is sound over the numbers of ranks that it is for, and no others") {
  for (const int size : {2, 4, 8, 16}) {
    INFO(size, " ranks");
    CHECK(verdict<exchange>(size) == "sound");
    CHECK(verdict(prove(exchange{}, size, 2)) == "sound");
    CHECK(prove<exchange>(size).rank_ordered == (size == 2));
  }
  for (const int size : {1, 3, 5, 6, 7}) CHECK(!prove<exchange>(size).sound());
}

TEST_CASE("an exchange without its last copy is sound out of place only, and so is not sound") {
  struct impatient : exchange {
    constexpr int steps(int size) const { return exchange::steps(size) - 1; }
    constexpr step at(int rank, int size, int index) const {
      step it = exchange::at(rank, size, index);
      if (it.completes) it.targets.items[0] = {buffer::output, only(rank), 0};
      return it;
    }
    constexpr waits exit(int rank, int size) const {
      waits list = exchange::exit(rank, size);
      list.push({only(rank ^ 1), 0});
      return list;
    }
  };
  struct impatient_apart : impatient {
    bool in_place = false;  // proven out of place only
  };
  for (const int size : {2, 4, 8}) {
    CHECK(verdict<impatient_apart>(size) == "sound");
    CHECK(prove<impatient>(size).what == flaw::read_too_early);
  }
  CHECK(verdict<impatient>(2) ==
        "reads what may not be written yet: rank 1, step 0, peer 0, chunk 0");
}

namespace {

/// A broadcast in which the root copies a second time, Lag pieces later, for the others to copy
/// again. They wait for that, and the root for their first copy of the next piece.
template <int Lag>
struct copied_twice {
  static constexpr collective kind = collective::broadcast;
  static constexpr std::string_view name = "copied twice";
  constexpr int chunks(int) const { return 1; }
  constexpr int steps(int) const { return 3; }
  constexpr int lag(int, int index) const { return index == 2 ? Lag : 0; }
  constexpr step at(int rank, int size, int index) const {
    step it = step{}.from(only(0), rank > 0 && index == 1 ? buffer::output : buffer::input);
    it.to(only(rank), buffer::output);
    if (rank > 0) return index == 2 ? step{} : it.after(only(0), index == 0 ? entered : 2);
    if (index == 1) return {};
    return size > 1 ? it.after(every_other(0, size), index == 0 ? 0 : entered) : it;
  }
  constexpr waits exit(int rank, int size) const {
    waits list;
    if (rank == 0) list.push({every_other(0, size), 1});
    return list;
  }
};

}  // namespace

TEST_CASE("a schedule that hangs in several pieces only is not proven") {
  static_assert(proven<copied_twice<0>>);
  static_assert(!proven<copied_twice<1>>);
  for (int size = 2; size <= 5; ++size) {
    CHECK(prove<copied_twice<0>>(size, 3).sound());
    CHECK(prove<copied_twice<1>>(size).sound());
    CHECK(prove<copied_twice<1>>(size, 2).what == flaw::circular_wait);
  }
}

TEST_CASE("what a schedule does not say has a default") {
  CHECK(root_of(minimal{}) == 0);
  CHECK(root_of(both_ways{3}) == 3);
  CHECK(root_of(primary<2>{}) == 2);
  CHECK(scratch_chunks_of(minimal{}, 4) == 0);
  CHECK(scratch_chunks_of(exchange{}, 8) == 3);
  CHECK(lag_of(minimal{}, 4, 0) == 0);
  CHECK(lag_of(tree{}, 4, 2) == 2);
  CHECK(!reads_slots<minimal>);
  CHECK(reads_slots<one_shot>);
}

TEST_CASE("a minimal schedule is a barrier that does not hold anybody back") {
  CHECK(verdict<minimal>(1) == "sound");
  CHECK(prove<minimal>(2).what == flaw::not_synchronizing);
}
