// Partners at distances 1, 2, 4, …: a logarithmic number of steps and few bytes.
// Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
// 2005.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold {

/// Recursive halving and doubling; itself an all-reduce for any number of ranks.
///
/// With p the largest power of two that fits, the first 2(size − p) ranks pair up: the even one of
/// a pair folds both inputs and works for both, the odd one copies the result at the end. The p
/// working ranks halve what they are responsible for log2 p times, each time folding the half that
/// they keep with a partner's, nearest partner first; then double it again by copying.
/// In place without staging. Folds pair neighbours first, so contributions stay in rank order,
/// though not folded from left to right.
struct halving_doubling {
  static constexpr collective kind = collective::all_reduce;
  static constexpr std::string_view name = "halving_doubling";

  ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const { return largest_power(size); }
  /// One to pair up, log2 p to halve, log2 p to double, one to hand the result over.
  ALLFOLD_HOST_DEVICE constexpr int steps(int size) const { return 2 * levels(size) + 2; }
  ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
    const int depth = levels(size);
    if (index == 0) return pair_up(rank, size);
    if (index <= depth) return works(rank, size) ? halve(rank, size, index) : step{};
    if (index <= 2 * depth) return works(rank, size) ? double_up(rank, size, index) : step{};
    return works(rank, size) ? step{} : hand_over(rank, size);
  }
  ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
    waits list;
    if (!works(rank, size)) return list;
    // The partner served last may still be reading; the others were waited for on the way.
    if (levels(size) > 0) list.push({only(partner(rank, size, 0)), 2 * levels(size)});
    if (is_paired(rank, size)) list.push({only(rank + 1), steps(size) - 1});
    return list;
  }

 private:
  ALLFOLD_HOST_DEVICE static constexpr int largest_power(int size) {
    int power = 1;
    while (2 * power <= size) power *= 2;
    return power;
  }
  ALLFOLD_HOST_DEVICE static constexpr int levels(int size) {
    int depth = 0;
    for (int power = 1; 2 * power <= size; power *= 2) ++depth;
    return depth;
  }
  ALLFOLD_HOST_DEVICE static constexpr bool is_paired(int rank, int size) {
    return rank < 2 * (size - largest_power(size));
  }
  ALLFOLD_HOST_DEVICE static constexpr bool works(int rank, int size) {
    return !is_paired(rank, size) || rank % 2 == 0;
  }
  /// The number of a working rank among the working ranks, and back.
  ALLFOLD_HOST_DEVICE static constexpr int place(int rank, int size) {
    return is_paired(rank, size) ? rank / 2 : rank - (size - largest_power(size));
  }
  ALLFOLD_HOST_DEVICE static constexpr int rank_at(int place, int size) {
    const int extra = size - largest_power(size);
    return place < extra ? 2 * place : place + extra;
  }
  ALLFOLD_HOST_DEVICE static constexpr int partner(int rank, int size, int level) {
    return rank_at(place(rank, size) ^ (1 << level), size);
  }
  /// A step about the chunks that a rank is responsible for after `level` halvings. Bit `level` of
  /// its place, lowest first, chooses the lower or the upper half.
  ALLFOLD_HOST_DEVICE static constexpr step share(int rank, int size, int level) {
    step it;
    it.width = largest_power(size);
    for (int i = 0; i < level; ++i) {
      it.width /= 2;
      if ((place(rank, size) >> i) & 1) it.chunk += it.width;
    }
    return it;
  }
  /// Where a working rank's contribution lies before the first halving.
  ALLFOLD_HOST_DEVICE static constexpr buffer contribution(int rank, int size) {
    return is_paired(rank, size) ? buffer::output : buffer::input;
  }

  ALLFOLD_HOST_DEVICE static constexpr step pair_up(int rank, int size) {
    if (size == 1) return alone();
    if (!is_paired(rank, size) || rank % 2 != 0) return {};
    return share(rank, size, 0)
        .from(ranks{rank, 2, 1}, buffer::input)
        .to(only(rank), buffer::output)
        .after(only(rank + 1), entered);
  }
  ALLFOLD_HOST_DEVICE static constexpr step halve(int rank, int size, int index) {
    const int level = index - 1;
    const int other = partner(rank, size, level);
    const auto from = [=](int who) {
      return level == 0 ? contribution(who, size) : buffer::output;
    };
    const int low = rank < other ? rank : other;
    const int high = rank < other ? other : rank;
    return share(rank, size, level + 1)
        .from(only(low), from(low))
        .from(only(high), from(high))
        .to(only(rank), buffer::output)
        .after(only(other), from(other) == buffer::input ? entered : index - 1)
        .complete(index == levels(size));
  }
  ALLFOLD_HOST_DEVICE static constexpr step double_up(int rank, int size, int index) {
    const int level = 2 * levels(size) - index;
    const int other = partner(rank, size, level);
    step copy = share(other, size, level + 1)
                    .from(only(other), buffer::output)
                    .to(only(rank), buffer::output)
                    .after(only(other), index - 1);
    if (index == levels(size) + 1) return copy;
    return copy.after(only(partner(rank, size, level + 1)), index - 1);  // it has read this rank
  }
  ALLFOLD_HOST_DEVICE static constexpr step hand_over(int rank, int size) {
    return share(rank - 1, size, 0)
        .from(only(rank - 1), buffer::output)
        .to(only(rank), buffer::output)
        .after(only(rank - 1), 2 * levels(size));
  }
};

template <>
inline constexpr bool trusted<halving_doubling> = true;

}  // namespace allfold

#ifdef ALLFOLD_PROVE
#include <allfold/schedule/proof.hpp>
static_assert(allfold::proven<allfold::halving_doubling>);
#endif
