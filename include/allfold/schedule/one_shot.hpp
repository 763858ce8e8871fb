// Short messages in one hop: what a rank gives lies in its slot beside the news that it has
// entered. Nobody waits to leave, since slots outlive the call. All folds are in rank order.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold {

/// The one-shot algorithm, for messages that fit a slot; itself an all-reduce in which every rank
/// folds all slots. `direct` takes it by itself where messages are short enough.
struct one_shot {
  static constexpr collective kind = collective::all_reduce;
  static constexpr std::string_view name = "one_shot";
  static constexpr bool reads_slots = true;

  ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
  ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
  ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
    step now;  // named, so that it is made where the caller has it: copies cost more than the fold
    now.from(every(size), buffer::slot)
        .to(only(rank), buffer::output)
        .after(every(size), entered)
        .complete();
    return now;
  }
  ALLFOLD_HOST_DEVICE constexpr waits exit(int, int) const { return {}; }

  /// The root folds all slots. The others need not wait for it.
  struct reduce {
    static constexpr collective kind = collective::reduce;
    static constexpr std::string_view name = "one_shot";
    static constexpr bool reads_slots = true;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      step now;
      if (rank == root)
        now.from(every(size), buffer::slot)
            .to(only(root), buffer::output)
            .after(every(size), entered)
            .complete();
      return now;
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int, int) const { return {}; }
  };

  /// Every rank copies the root's slot. The root waits for nobody.
  struct broadcast {
    static constexpr collective kind = collective::broadcast;
    static constexpr std::string_view name = "one_shot";
    static constexpr bool reads_slots = true;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int, int) const {
      step now;
      now.from(only(root), buffer::slot).to(only(rank), buffer::output).after(only(root), entered);
      return now;
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int, int) const { return {}; }
  };

  /// Rank r folds chunk r of all slots.
  struct reduce_scatter {
    static constexpr collective kind = collective::reduce_scatter;
    static constexpr std::string_view name = "one_shot";
    static constexpr bool reads_slots = true;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      step now{rank};
      now.from(every(size), buffer::slot)
          .to(only(rank), buffer::output)
          .after(every(size), entered)
          .complete();
      return now;
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int, int) const { return {}; }
  };

  /// Every rank copies all slots, beginning with its own.
  struct all_gather {
    static constexpr collective kind = collective::all_gather;
    static constexpr std::string_view name = "one_shot";
    static constexpr bool reads_slots = true;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
      const int peer = (rank + index) % size;
      step now{peer};
      now.from(only(peer), buffer::slot).to(only(rank), buffer::output).after(only(peer), entered);
      return now;
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int, int) const { return {}; }
  };

  /// Rank r copies chunk r of the root's slot. The root waits for nobody.
  struct scatter {
    static constexpr collective kind = collective::scatter;
    static constexpr std::string_view name = "one_shot";
    static constexpr bool reads_slots = true;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int, int) const {
      step now{rank};
      now.from(only(root), buffer::slot).to(only(rank), buffer::output).after(only(root), entered);
      return now;
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int, int) const { return {}; }
  };

  /// The root copies all slots. The others need not wait for it.
  struct gather {
    static constexpr collective kind = collective::gather;
    static constexpr std::string_view name = "one_shot";
    static constexpr bool reads_slots = true;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
      return rank == root ? one_shot::all_gather{}.at(rank, size, index) : step{};
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int, int) const { return {}; }
  };

  /// Rank r copies chunk r of all slots, beginning with its own; in place as well, because slots
  /// are copies.
  struct all_to_all {
    static constexpr collective kind = collective::all_to_all;
    static constexpr std::string_view name = "one_shot";
    static constexpr bool reads_slots = true;
    bool in_place = false;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
      const int peer = (rank + index) % size;
      step now{peer};
      now.from(only(peer), buffer::slot, rank)
          .to(only(rank), buffer::output)
          .after(only(peer), entered);
      return now;
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int, int) const { return {}; }
  };
};

template <>
inline constexpr bool trusted<one_shot> = true;
template <>
inline constexpr bool trusted<one_shot::reduce> = true;
template <>
inline constexpr bool trusted<one_shot::broadcast> = true;
template <>
inline constexpr bool trusted<one_shot::reduce_scatter> = true;
template <>
inline constexpr bool trusted<one_shot::all_gather> = true;
template <>
inline constexpr bool trusted<one_shot::scatter> = true;
template <>
inline constexpr bool trusted<one_shot::gather> = true;
template <>
inline constexpr bool trusted<one_shot::all_to_all> = true;

template <>
inline constexpr bool same_for_all_ranks<one_shot> = true;

}  // namespace allfold

#ifdef ALLFOLD_PROVE
#include <allfold/schedule/proof.hpp>
static_assert(allfold::proven<allfold::one_shot>);
static_assert(allfold::proven<allfold::one_shot::reduce>);
static_assert(allfold::proven<allfold::one_shot::broadcast>);
static_assert(allfold::proven<allfold::one_shot::reduce_scatter>);
static_assert(allfold::proven<allfold::one_shot::all_gather>);
static_assert(allfold::proven<allfold::one_shot::scatter>);
static_assert(allfold::proven<allfold::one_shot::gather>);
static_assert(allfold::proven<allfold::one_shot::all_to_all>);
#endif
