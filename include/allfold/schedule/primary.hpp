// One rank folds for all: what PyTorch's DataParallel does.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold {

/// The primary algorithm; itself an all-reduce in which rank `Root` folds everything, in rank
/// order, and writes the result to every rank while the others wait. The fewest bytes in all, but
/// one rank moves every one of them.
template <int Root = 0>
struct primary {
  static constexpr collective kind = collective::all_reduce;
  static constexpr std::string_view name = "primary";
  static constexpr int root = Root;
  static_assert(Root >= 0, "allfold: the primary's rank can't be negative");

  ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
  ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
  ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
    if (rank != Root) return {};
    return step{}
        .from(every(size), buffer::input)
        .to(every(size), buffer::output)
        .after(every(size), entered)
        .complete();
  }
  ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int) const {
    waits list;
    if (rank != Root) list.push({only(Root), 0});
    return list;
  }

  /// The root folds all inputs itself.
  struct reduce {
    static constexpr collective kind = collective::reduce;
    static constexpr std::string_view name = "primary";
    using of_primary = primary;
    int root = Root;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      if (rank != root) return {};
      return step{}
          .from(every(size), buffer::input)
          .to(only(root), buffer::output)
          .after(every(size), entered)
          .complete();
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int) const {
      waits list;
      if (rank != root) list.push({only(root), 0});
      return list;
    }
  };
};

template <int Root>
inline constexpr bool trusted<primary<Root>> = true;

/// True for primary<Root>::reduce.
template <class Schedule>
requires std::same_as<Schedule, typename Schedule::of_primary::reduce>
inline constexpr bool trusted<Schedule> = true;

}  // namespace allfold

#ifdef ALLFOLD_PROVE
#include <allfold/schedule/proof.hpp>
static_assert(allfold::proven<allfold::primary<0>>);
static_assert(allfold::proven<allfold::primary<2>>);
static_assert(allfold::proven<allfold::primary<0>::reduce>);
#endif
