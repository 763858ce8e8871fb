// Every rank reads from, or writes to, every other rank itself: the fewest bytes and the fewest
// hops where all memory is within reach, as on one node. All folds are in rank order.
#pragma once

#include <allfold/schedule/one_shot.hpp>

namespace allfold {

/// The direct algorithm; itself the two-shot all-reduce: rank r folds chunk r from every rank, in
/// rank order, and writes it to every rank. The fewest bytes, one step, in place without staging.
struct direct {
  static constexpr collective kind = collective::all_reduce;
  static constexpr std::string_view name = "direct";
  using small = one_shot;

  ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
  ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
  ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
    step now{rank};
    now.from(every(size), buffer::input)
        .to(every(size), buffer::output)
        .after(every(size), entered)
        .complete();
    return now;
  }
  ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
    waits list;
    list.push({every_other(rank, size), 0});
    return list;
  }

  /// Every rank folds its share and writes it to the root, so that the root is not the only one
  /// at work.
  struct reduce {
    static constexpr collective kind = collective::reduce;
    static constexpr std::string_view name = "direct";
    using small = one_shot::reduce;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      return step{rank}
          .from(every(size), buffer::input)
          .to(only(root), buffer::output)
          .after(every(size), entered)
          .complete();
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      return direct{}.exit(rank, size);
    }
  };

  /// Every rank copies the root's input.
  struct broadcast {
    static constexpr collective kind = collective::broadcast;
    static constexpr std::string_view name = "direct";
    using small = one_shot::broadcast;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int, int) const {
      return step{}
          .from(only(root), buffer::input)
          .to(only(rank), buffer::output)
          .after(only(root), entered);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      return rank == root ? direct{}.exit(rank, size) : waits{};
    }
  };

  /// Rank r folds chunk r from every rank.
  struct reduce_scatter {
    static constexpr collective kind = collective::reduce_scatter;
    static constexpr std::string_view name = "direct";
    using small = one_shot::reduce_scatter;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      return step{rank}
          .from(every(size), buffer::input)
          .to(only(rank), buffer::output)
          .after(every(size), entered)
          .complete();
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      return direct{}.exit(rank, size);
    }
  };

  /// Rank r writes its chunk to every rank.
  struct all_gather {
    static constexpr collective kind = collective::all_gather;
    static constexpr std::string_view name = "direct";
    using small = one_shot::all_gather;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      return step{rank}
          .from(only(rank), buffer::input)
          .to(every(size), buffer::output)
          .after(every(size), entered);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      return direct{}.exit(rank, size);
    }
  };

  /// Rank r copies chunk r of the root's input.
  struct scatter {
    static constexpr collective kind = collective::scatter;
    static constexpr std::string_view name = "direct";
    using small = one_shot::scatter;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int, int) const {
      return step{rank}
          .from(only(root), buffer::input)
          .to(only(rank), buffer::output)
          .after(only(root), entered);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      return rank == root ? direct{}.exit(rank, size) : waits{};
    }
  };

  /// Rank r writes its input to chunk r of the root's output.
  struct gather {
    static constexpr collective kind = collective::gather;
    static constexpr std::string_view name = "direct";
    using small = one_shot::gather;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int, int) const {
      return step{rank}
          .from(only(rank), buffer::input)
          .to(only(root), buffer::output)
          .after(only(root), entered);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      return rank == root ? direct{}.exit(rank, size) : waits{};
    }
  };

  /// Rank r copies chunk r out of every rank, beginning with its successor so that no rank is
  /// read by all at once. In place the input is set aside in scratch memory first, because a rank
  /// may be overwritten before the others have read it.
  struct all_to_all {
    static constexpr collective kind = collective::all_to_all;
    static constexpr std::string_view name = "direct";
    using small = one_shot::all_to_all;
    bool in_place = false;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int size) const { return size + (in_place ? 1 : 0); }
    ALLFOLD_HOST_DEVICE constexpr int scratch_chunks(int size) const { return in_place ? size : 0; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
      if (in_place && index == 0) {
        return step{0, size}.from(only(rank), buffer::input).to(only(rank), buffer::scratch);
      }
      const int peer = (rank + 1 + index - (in_place ? 1 : 0)) % size;
      return step{peer}
          .from(only(peer), in_place ? buffer::scratch : buffer::input, rank)
          .to(only(rank), buffer::output)
          .after(only(peer), in_place ? 0 : entered);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      waits list;  // the last step in which anybody reads this rank's memory is the last of all
      list.push({every_other(rank, size), steps(size) - 1});
      return list;
    }
  };

  /// Every rank waits until all have entered.
  struct barrier {
    static constexpr collective kind = collective::barrier;
    static constexpr std::string_view name = "direct";

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 0; }
    ALLFOLD_HOST_DEVICE constexpr step at(int, int, int) const { return {}; }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      waits list;
      list.push({every_other(rank, size), entered});
      return list;
    }
  };
};

template <>
inline constexpr bool trusted<direct> = true;
template <>
inline constexpr bool trusted<direct::reduce> = true;
template <>
inline constexpr bool trusted<direct::broadcast> = true;
template <>
inline constexpr bool trusted<direct::reduce_scatter> = true;
template <>
inline constexpr bool trusted<direct::all_gather> = true;
template <>
inline constexpr bool trusted<direct::scatter> = true;
template <>
inline constexpr bool trusted<direct::gather> = true;
template <>
inline constexpr bool trusted<direct::all_to_all> = true;
template <>
inline constexpr bool trusted<direct::barrier> = true;

template <>
inline constexpr bool same_for_all_ranks<direct> = true;
template <>
inline constexpr bool same_for_all_ranks<direct::reduce_scatter> = true;
template <>
inline constexpr bool same_for_all_ranks<direct::all_gather> = true;
template <>
inline constexpr bool same_for_all_ranks<direct::barrier> = true;

}  // namespace allfold

#ifdef ALLFOLD_PROVE
#include <allfold/schedule/proof.hpp>
static_assert(allfold::proven<allfold::direct>);
static_assert(allfold::proven<allfold::direct::reduce>);
static_assert(allfold::proven<allfold::direct::broadcast>);
static_assert(allfold::proven<allfold::direct::reduce_scatter>);
static_assert(allfold::proven<allfold::direct::all_gather>);
static_assert(allfold::proven<allfold::direct::scatter>);
static_assert(allfold::proven<allfold::direct::gather>);
static_assert(allfold::proven<allfold::direct::all_to_all>);
static_assert(allfold::proven<allfold::direct::barrier>);
#endif
