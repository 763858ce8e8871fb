// Which contributions each element holds, and in which order they were folded.
#pragma once

#include <allfold/schedule/trace.hpp>

namespace allfold {

/// What the ranks' memory holds after the steps seen so far, as expressions over contributions.
/// A value is a number: a contribution (one rank's input chunk) or a fold of earlier values, listed
/// in the order they were folded. Copies share the number of what they copy.
class fold_values {
 public:
  static constexpr int undefined = -1;
  static constexpr int buffers = 4;

  /// A contribution, or a fold of earlier values.
  struct value {
    int rank = -1;  ///< whose contribution; −1 for a fold
    int chunk = 0;  ///< the contribution's chunk
    int first = 0;  ///< a fold's operands are operands()[first .. first + count)
    int count = 0;
    bool complete = false;  ///< folded by a step that says it completes
  };

  /// Memory of `size` ranks, each buffer having `chunks` chunks for each of `pieces` pieces.
  constexpr fold_values(int size, int chunks, int pieces, bool in_place)
      : size_{size},
        chunks_{chunks},
        pieces_{pieces},
        in_place_{in_place},
        cells_(static_cast<std::size_t>(size * buffers * chunks * pieces), undefined) {}

  /// The place of a chunk. In place, input and output are the same memory.
  constexpr std::size_t cell(int rank, buffer where, int chunk, int piece) const {
    const int kind = in_place_ && where == buffer::output ? 0 : static_cast<int>(where);
    return static_cast<std::size_t>(((rank * buffers + kind) * chunks_ + chunk) * pieces_ + piece);
  }
  constexpr std::size_t cells() const { return cells_.size(); }

  /// Puts a rank's contribution where a collective finds it.
  constexpr void contribute(int rank, buffer where, int chunk, int piece) {
    value it;
    it.rank = rank;
    it.chunk = chunk;
    values_.push_back(it);
    cells_[cell(rank, where, chunk, piece)] = static_cast<int>(values_.size()) - 1;
  }

  /// Applies a step; false if it reads a chunk that holds nothing.
  constexpr bool apply(const step& now, int piece) {
    for (int i = 0; i < now.width; ++i) {
      const int result = fold(now, i, piece);
      if (result == undefined && !now.sources.empty()) return false;
      for (const operand& each : now.targets)
        for (int k = 0; k < each.who.count; ++k)
          cells_[cell(each.who.at(k, size_), each.where, each.chunk + i, piece)] = result;
    }
    return true;
  }

  /// The value that a chunk holds, or `undefined`.
  constexpr int at(int rank, buffer where, int chunk, int piece) const {
    return cells_[cell(rank, where, chunk, piece)];
  }
  constexpr const value& operator[](int number) const {
    return values_[static_cast<std::size_t>(number)];
  }
  constexpr int operand_of(const value& fold, int i) const {
    return operands_[static_cast<std::size_t>(fold.first + i)];
  }

 private:
  constexpr int fold(const step& now, int i, int piece) {
    value made;
    made.first = static_cast<int>(operands_.size());
    made.complete = now.completes;
    for (const operand& each : now.sources)
      for (int k = 0; k < each.who.count; ++k) {
        const int held = at(each.who.at(k, size_), each.where, each.chunk + i, piece);
        if (held == undefined) return undefined;
        operands_.push_back(held);
      }
    made.count = static_cast<int>(operands_.size()) - made.first;
    if (made.count == 0) return undefined;
    if (made.count == 1 && !made.complete) {  // a copy
      const int copied = operands_.back();
      operands_.pop_back();
      return copied;
    }
    values_.push_back(made);
    return static_cast<int>(values_.size()) - 1;
  }

  int size_;
  int chunks_;
  int pieces_;
  bool in_place_;
  std::vector<int> cells_;
  std::vector<value> values_;
  std::vector<int> operands_;
};

/// The contributions that a collective asks rank `rank` to hold in its output's chunk `chunk`.
struct expectation {
  bool anything = true;   ///< false if the rank need not hold this chunk
  bool everyone = false;  ///< true: every rank's chunk `chunk`, folded; false: one contribution
  int rank = 0;           ///< the one contribution's rank
  int chunk = 0;          ///< and chunk
};

/// What a collective promises.
constexpr expectation expected(collective kind, int root, int rank, int chunk) {
  switch (kind) {
    case collective::all_reduce:
      return {true, true, 0, chunk};
    case collective::reduce:
      return {rank == root, true, 0, chunk};
    case collective::broadcast:
      return {true, false, root, chunk};
    case collective::reduce_scatter:
      return {rank == chunk, true, 0, chunk};
    case collective::all_gather:
      return {true, false, chunk, chunk};
    case collective::scatter:
      return {rank == chunk, false, root, chunk};
    case collective::gather:
      return {rank == root, false, chunk, chunk};
    case collective::all_to_all:
      return {true, false, chunk, rank};
    case collective::barrier:
      break;
  }
  return {false, false, 0, 0};
}

/// True if rank `rank` has something in its input's chunk `chunk` when it enters.
constexpr bool contributes(collective kind, int root, int rank, int chunk) {
  switch (kind) {
    case collective::broadcast:
    case collective::scatter:
      return rank == root;
    case collective::all_gather:
    case collective::gather:
      return rank == chunk;
    case collective::barrier:
      return false;
    default:
      return true;
  }
}

/// Fills in what the ranks bring to a collective.
template <class Schedule>
constexpr void contribute_inputs(fold_values& memory, const Schedule& plan, int size, int pieces) {
  for (int rank = 0; rank < size; ++rank)
    for (int chunk = 0; chunk < plan.chunks(size); ++chunk)
      for (int piece = 0; piece < pieces; ++piece)
        if (contributes(Schedule::kind, root_of(plan), rank, chunk))
          memory.contribute(rank, reads_slots<Schedule> ? buffer::slot : buffer::input, chunk,
                            piece);
}

/// The memory after a schedule has run out of place: what every element holds, as an expression.
/// With it a test computes the very bits that a schedule must give.
template <schedule Schedule>
constexpr fold_values fold_order(const Schedule& plan, int size) {
  const int chunks = plan.chunks(size);
  const int scratch = scratch_chunks_of(plan, size);
  fold_values memory{size, chunks > scratch ? chunks : scratch, 1, false};
  contribute_inputs(memory, plan, size, 1);
  struct {
    fold_values& memory;
    constexpr void operator()(const event&) {}
    constexpr void operator()(const event&, const step& now) { memory.apply(now, 0); }
  } visit{memory};
  trace(plan, size, 1, visit);
  return memory;
}

}  // namespace allfold
