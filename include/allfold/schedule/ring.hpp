// Each rank reads from its predecessor only: bandwidth-optimal with neighbour traffic alone.
// Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold {

/// The ring algorithm; itself an all-reduce: size − 1 steps in which a rank folds its predecessor's
/// chunk into its own, after which rank r holds all of chunk r, then size − 1 steps in which it
/// copies its predecessor's complete chunk. In place without staging: chunk c is folded in the
/// order c+1, c+2, …, c.
struct ring {
  static constexpr collective kind = collective::all_reduce;
  static constexpr std::string_view name = "ring";
  static constexpr std::size_t piece_bytes = 128 * 1024;

  ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
  ALLFOLD_HOST_DEVICE constexpr int steps(int size) const { return size == 1 ? 1 : 2 * size - 2; }
  ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
    if (size == 1) return alone();
    const int previous = wrap(rank - 1, size);
    if (index < size - 1) {
      return step{wrap(rank - 2 - index, size)}
          .from(only(previous), index == 0 ? buffer::input : buffer::output)
          .from(only(rank), buffer::input)
          .to(only(rank), buffer::output)
          .after(only(previous), index - 1)
          .complete(index == size - 2);
    }
    return step{wrap(rank - 1 - (index - (size - 1)), size)}
        .from(only(previous), buffer::output)
        .to(only(rank), buffer::output)
        .after(only(previous), index - 1);
  }
  ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
    waits list;
    if (size > 1) list.push({only((rank + 1) % size), steps(size) - 1});
    return list;
  }

  /// A chain that ends at the root; the partial folds lie in scratch memory.
  struct reduce {
    static constexpr collective kind = collective::reduce;
    static constexpr std::string_view name = "ring";
    static constexpr std::size_t piece_bytes = 128 * 1024;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int scratch_chunks(int size) const { return size > 2 ? 1 : 0; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      if (size == 1) return alone();
      const int place = wrap(rank - root - 1, size);  // 0 begins, size - 1 is the root
      if (place == 0) return {};
      const int previous = wrap(rank - 1, size);
      return step{}
          .from(only(previous), place == 1 ? buffer::input : buffer::scratch)
          .from(only(rank), buffer::input)
          .to(only(rank), rank == root ? buffer::output : buffer::scratch)
          .after(only(previous), place == 1 ? entered : 0)
          .complete(rank == root);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      waits list;
      if (rank != root) list.push({only((rank + 1) % size), 0});
      return list;
    }
  };

  /// A chain that begins at the root.
  struct broadcast {
    static constexpr collective kind = collective::broadcast;
    static constexpr std::string_view name = "ring";
    static constexpr std::size_t piece_bytes = 128 * 1024;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      if (rank == root)
        return step{}.from(only(root), buffer::input).to(only(root), buffer::output);
      const int previous = wrap(rank - 1, size);
      return step{}
          .from(only(previous), buffer::output)
          .to(only(rank), buffer::output)
          .after(only(previous), 0);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      const int next = (rank + 1) % size;
      waits list;
      if (next != root) list.push({only(next), 0});
      return list;
    }
  };

  /// The first half of the ring. Partial folds alternate between two chunks of scratch memory, so a
  /// rank also waits until its successor has read the one that it is about to overwrite.
  struct reduce_scatter {
    static constexpr collective kind = collective::reduce_scatter;
    static constexpr std::string_view name = "ring";

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int size) const { return size == 1 ? 1 : size - 1; }
    ALLFOLD_HOST_DEVICE constexpr int scratch_chunks(int size) const { return size > 2 ? 2 : 0; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
      if (size == 1) return alone();
      const int previous = wrap(rank - 1, size);
      const int chunk = wrap(rank - 2 - index, size);
      const bool last = index == size - 2;
      step fold =
          step{chunk}
              .from(only(previous), index == 0 ? buffer::input : buffer::scratch,
                    index == 0 ? chunk : (index - 1) % 2)
              .from(only(rank), buffer::input)
              .to(only(rank), last ? buffer::output : buffer::scratch, last ? chunk : index % 2)
              .after(only(previous), index - 1)
              .complete(last);
      return index >= 2 && !last ? fold.after(only((rank + 1) % size), index - 1) : fold;
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      waits list;
      if (size > 1) list.push({only((rank + 1) % size), steps(size) - 1});
      return list;
    }
  };

  /// The second half of the ring.
  struct all_gather {
    static constexpr collective kind = collective::all_gather;
    static constexpr std::string_view name = "ring";

    ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int size) const { return size; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
      if (index == 0)
        return step{rank}.from(only(rank), buffer::input).to(only(rank), buffer::output);
      const int previous = wrap(rank - 1, size);
      return step{wrap(rank - index, size)}
          .from(only(previous), buffer::output)
          .to(only(rank), buffer::output)
          .after(only(previous), index - 1);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      waits list;
      if (size > 1) list.push({only((rank + 1) % size), size - 1});
      return list;
    }
  };
};

template <>
inline constexpr bool trusted<ring> = true;
template <>
inline constexpr bool trusted<ring::reduce> = true;
template <>
inline constexpr bool trusted<ring::broadcast> = true;
template <>
inline constexpr bool trusted<ring::reduce_scatter> = true;
template <>
inline constexpr bool trusted<ring::all_gather> = true;

template <>
inline constexpr bool same_for_all_ranks<ring> = true;
template <>
inline constexpr bool same_for_all_ranks<ring::reduce_scatter> = true;
template <>
inline constexpr bool same_for_all_ranks<ring::all_gather> = true;

}  // namespace allfold

#ifdef ALLFOLD_PROVE
#include <allfold/schedule/proof.hpp>
static_assert(allfold::proven<allfold::ring>);
static_assert(allfold::proven<allfold::ring::reduce>);
static_assert(allfold::proven<allfold::ring::broadcast>);
static_assert(allfold::proven<allfold::ring::reduce_scatter>);
static_assert(allfold::proven<allfold::ring::all_gather>);
#endif
