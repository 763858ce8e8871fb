// Schedules that do what others do, and in which something can be made to go wrong at every step.
#pragma once

#include <allfold/allfold.hpp>
#include <cstddef>
#include <string_view>
#include <type_traits>

// The faulty schedules have a base class, which `{.root = root}` leaves out.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

namespace test {

/// Called on this thread before each step of a faulty schedule, with its index; once per piece. The
/// exit waits are the step behind the last.
inline thread_local void (*on_step)(int index) = nullptr;

template <class Schedule>
struct faulty;

/// What a schedule may have besides.
template <class Schedule>
struct small_of {};
template <class Schedule>
requires requires { typename Schedule::small; }
struct small_of<Schedule> {
  using small = faulty<typename Schedule::small>;
};
template <class Schedule>
struct pieces_of {};
template <class Schedule>
requires requires { Schedule::piece_bytes; }
struct pieces_of<Schedule> {
  static constexpr std::size_t piece_bytes = 4096;  // so that few elements make several pieces
};

/// `Schedule`, made by `plan()` of `Self`, with a fault in it.
template <class Self, class Schedule>
struct faulty_base : small_of<Schedule>, pieces_of<Schedule> {
  static constexpr allfold::collective kind = Schedule::kind;
  static constexpr std::string_view name = Schedule::name;
  static constexpr bool reads_slots = allfold::reads_slots<Schedule>;

  constexpr Schedule inner() const { return static_cast<const Self&>(*this).plan(); }
  constexpr int chunks(int size) const { return inner().chunks(size); }
  constexpr int steps(int size) const { return inner().steps(size); }
  constexpr int lag(int size, int index) const { return allfold::lag_of(inner(), size, index); }
  constexpr int scratch_chunks(int size) const { return allfold::scratch_chunks_of(inner(), size); }
  constexpr allfold::step at(int rank, int size, int index) const {
    if (!std::is_constant_evaluated() && on_step != nullptr) on_step(index);
    return inner().at(rank, size, index);
  }
  constexpr allfold::waits exit(int rank, int size) const {
    if (!std::is_constant_evaluated() && on_step != nullptr) on_step(steps(size));
    return inner().exit(rank, size);
  }
};

template <class Schedule>
struct faulty : faulty_base<faulty<Schedule>, Schedule> {
  constexpr Schedule plan() const { return {}; }
};
template <class Schedule>
requires requires { Schedule{.root = 0}; }
struct faulty<Schedule> : faulty_base<faulty<Schedule>, Schedule> {
  int root = 0;
  constexpr Schedule plan() const { return {.root = root}; }
};
template <class Schedule>
requires requires { Schedule{.in_place = false}; }
struct faulty<Schedule> : faulty_base<faulty<Schedule>, Schedule> {
  bool in_place = false;
  constexpr Schedule plan() const { return {.in_place = in_place}; }
};

/// An algorithm whose every collective is the one that is given.
template <class Schedule>
struct through {
  using reduce = faulty<Schedule>;
  using broadcast = faulty<Schedule>;
  using reduce_scatter = faulty<Schedule>;
  using all_gather = faulty<Schedule>;
  using scatter = faulty<Schedule>;
  using gather = faulty<Schedule>;
  using all_to_all = faulty<Schedule>;
  using barrier = faulty<Schedule>;
};

}  // namespace test

/// A faulty schedule does the same as the schedule that it wraps.
template <class Schedule>
inline constexpr bool allfold::trusted<test::faulty<Schedule>> = true;

#pragma GCC diagnostic pop
