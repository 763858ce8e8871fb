// The collectives that fold, over several nodes, with the bits that `direct` gives on one.
#pragma once

#include <allfold/collective/message_pieces.hpp>
#include <allfold/collective/two_level_moves.hpp>

namespace allfold::detail {

/// Direct's reduce_scatter, but that rank r goes on with what its output holds already, which lies
/// apart from all inputs.
struct continued_reduce_scatter : direct::reduce_scatter {
  ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
    return step{rank}
        .from(only(rank), buffer::output)
        .from(every(size), buffer::input)
        .to(only(rank), buffer::output)
        .after(every(size), entered)
        .complete();
  }
};

/// Pieces that go from node to node, each node going on with the fold of the one before, and come
/// from the last node as complete. In slot s node k sends on what it has folded in the slot before,
/// takes over piece s − k + 1 and folds that; so all nodes are at work, each at another piece.
///
/// Neighbours send to each other one pair after the other, and whatever is done by all nodes is
/// done after that, in the same order everywhere: nobody waits for one who waits for him.
template <class Call, class T, class Operation>
class relay {
 public:
  /// `longest`: elements of the longest piece and of the longest part of one.
  relay(Call& by, const Operation& operation, std::size_t longest_piece, std::size_t longest_part)
      : by_{by}, operation_{operation}, partial_{without_finish<T>(operation)} {
    const std::size_t part = rounded(longest_part * sizeof(wide));
    const std::size_t piece = widens ? rounded(longest_piece * sizeof(wide)) : 0;
    std::byte* room = by.template scratch<std::byte>(4 * part + piece);
    for (wide*& each : carried_) each = reinterpret_cast<wide*>(std::exchange(room, room + part));
    for (T*& each : complete_) each = reinterpret_cast<T*>(std::exchange(room, room + part));
    widened_ = reinterpret_cast<wide*>(room);
  }

  /// One piece's elements: all ranks', and how they are divided over the lanes.
  struct piece_input {
    const T* input;
    partition parts;
  };
  /// `input_of(p)` gives a piece_input; `deliver(p, part)` is called on all ranks in turn, with
  /// what on the last node is the rank's complete part, and elsewhere memory for as much.
  template <class Input, class Deliver>
  void run(int pieces, Input input_of, Deliver deliver) {
    const auto is_live = [&](int piece) { return piece >= 0 && piece < pieces; };
    // First all nodes meet: where one calls something else, another would wait for a neighbour that
    // waits for all.
    by_.across.template evenly<collective::barrier, T>(nullptr, nullptr, 0);
    by_.across.guarded([&] { by_.world.connect_neighbours(by_.said.where); });
    for (int slot = -1; slot < pieces + last(); ++slot) {
      const int leaving = slot - by_.node, arriving = leaving + 1;
      const auto send = [&] {
        if (is_live(leaving) && !is_last()) pass(nodes::tier::after, leaving, input_of(leaving));
      };
      const auto receive = [&] {
        if (is_live(arriving) && by_.node > 0)
          pass(nodes::tier::before, arriving, input_of(arriving));
      };
      if (by_.node % 2 == 0) send();
      receive();
      if (by_.node % 2 != 0) send();
      if (is_live(arriving)) take(arriving, input_of(arriving));
      if (is_live(slot - last())) deliver(slot - last(), complete_[parity(slot - last())]);
    }
  }

  /// The last node's `part` becomes `output` on node `node`. All ranks call it.
  void hand_to(int node, const T* part, T* output, std::size_t count) {
    if (node == last()) {
      if (is_last() && output != part) std::copy_n(part, count, output);
      return;
    }
    std::vector<std::size_t> counts(static_cast<std::size_t>(by_.world.nodes()), 0);
    counts[static_cast<std::size_t>(node)] = count;
    by_.across.template by_counts<collective::scatter, T>(is_last() ? part : nullptr, output,
                                                          counts, last());
  }
  int last() const { return by_.world.nodes() - 1; }
  bool is_last() const { return by_.node == last(); }

 private:
  using wide = accumulator<T>;
  using world_type = std::remove_reference_t<decltype(std::declval<Call&>().world)>;
  static constexpr bool widens = !std::is_same_v<wide, T>;
  static std::size_t rounded(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  static std::size_t parity(int piece) { return static_cast<std::size_t>(piece % 2); }
  std::size_t count_in(const partition& parts) const { return parts.of(by_.lane, 1, 0).count; }

  /// What the lower node of a pair has folded becomes what the upper one goes on with.
  void pass(nodes::tier which, int piece, const piece_input& its) {
    auto& pair = by_.world.neighbour(which);
    wide* const part = carried_[parity(piece)];
    level<std::remove_reference_t<decltype(pair)>, automatic, world_type>{pair, by_.world, which,
                                                                          by_.said}
        .template evenly<collective::broadcast, wide>(pair.rank() == 0 ? part : nullptr, part,
                                                      count_in(its.parts));
  }
  /// Folds this node's inputs to what has come from the node before.
  void take(int piece, const piece_input& its) {
    wide* const part = carried_[parity(piece)];
    const wide* const input = widened(its);
    if (by_.node == 0)
      by_.inside.by_schedule(direct::reduce_scatter{}, input, part, its.parts, partial_);
    else
      by_.inside.by_schedule(continued_reduce_scatter{}, input, part, its.parts, partial_);
    if (!is_last()) return;
    T* const complete = complete_[parity(piece)];
    for (std::size_t i = 0; i < count_in(its.parts); ++i)
      complete[i] = static_cast<T>(finished<T>(part[i], operation_, by_.world.size()));
  }
  const wide* widened(const piece_input& its) {
    if constexpr (widens) {
      const std::size_t count = its.parts.begin(its.parts.chunks(), 0);
      for (std::size_t i = 0; i < count; ++i) widened_[i] = static_cast<wide>(its.input[i]);
      return widened_;
    } else {
      return its.input;
    }
  }

  Call& by_;
  const Operation& operation_;
  decltype(without_finish<T>(std::declval<const Operation&>())) partial_;
  wide* carried_[2];  ///< the parts of two pieces that follow each other: taken over, and sent on
  T* complete_[2];
  wide* widened_;  ///< where elements are folded in another type: all of a piece
};

/// Every rank gets all contributions and folds them itself: for few.
template <class Call, class T, class Operation>
void fold_gathered(Call& by, const T* input, T* output, std::size_t count,
                   const Operation& operation) {
  const auto size = static_cast<std::size_t>(by.world.size());
  const std::size_t block = count * static_cast<std::size_t>(by.world.lanes());
  T* const all = by.scratch(count * size);
  T* const own = all + block * static_cast<std::size_t>(by.node);
  by.inside.template by_rank<collective::all_gather, T>(input, own, count);
  by.across.template by_rank<collective::all_gather, T>(own, all, block);
  if (output == nullptr) return;
  std::vector<const T*> sources;
  for (std::size_t rank = 0; rank < size; ++rank) sources.push_back(all + rank * count);
  fold<T>(sources.data(), by.world.size(), &output, 1, count, operation, by.world.size());
}
/// True if what one node's ranks give is no more than one of them would send for all.
template <class T, class Call>
bool is_gathered(const Call& by, std::size_t count) {
  return count * sizeof(T) * static_cast<std::size_t>(by.world.lanes()) <=
         by.world.options().one_lane_bytes;
}

template <class Call, class T, class Operation>
void fold_in_order(Call& by, const engine_call<collective::all_reduce, T>& it,
                   const Operation& operation) {
  if (is_gathered<T>(by, it.count))
    return fold_gathered(by, it.input, it.output, it.count, operation);
  message_pieces<Call, T> pieces{by, it.count, true, 0};
  relay<Call, T, Operation> line{by, operation, pieces.longest_piece(), pieces.longest_part()};
  using from = typename relay<Call, T, Operation>::piece_input;
  line.run(
      pieces.number(),
      [&](int piece) {
        return from{offset(it.input, pieces.begin(piece)), pieces.parts_of(piece)};
      },
      [&](int piece, const T* complete) {
        T* const part = offset(it.output, pieces.mine(piece).begin);
        by.across.template evenly<collective::broadcast, T>(
            line.is_last() ? complete : nullptr, part, pieces.mine(piece).count, line.last());
        pieces.spread_inside(piece, part, it.output);
      });
}

template <class Call, class T, class Operation>
void fold_in_order(Call& by, const engine_call<collective::reduce, T>& it,
                   const Operation& operation) {
  if (is_gathered<T>(by, it.count))
    return fold_gathered(by, it.input, it.output, it.count, operation);
  message_pieces<Call, T> pieces{by, it.count, true, 0};
  relay<Call, T, Operation> line{by, operation, pieces.longest_piece(), pieces.longest_part()};
  using from = typename relay<Call, T, Operation>::piece_input;
  line.run(
      pieces.number(),
      [&](int piece) {
        return from{offset(it.input, pieces.begin(piece)), pieces.parts_of(piece)};
      },
      [&](int piece, T* complete) {
        line.hand_to(by.root_node, complete, complete, pieces.mine(piece).count);
        if (by.on_root_node()) pieces.collect_inside(piece, complete, it.output);
      });
}

/// A node's block is a piece, and its ranks' shares the parts.
template <class Call, class T, class Operation>
void fold_in_order(Call& by, const engine_call<collective::reduce_scatter, T>& it,
                   const Operation& operation) {
  const std::size_t block = it.count * static_cast<std::size_t>(by.world.lanes());
  relay<Call, T, Operation> line{by, operation, block, it.count};
  using from = typename relay<Call, T, Operation>::piece_input;
  line.run(
      by.world.nodes(),
      [&](int node) {
        return from{offset(it.input, static_cast<std::size_t>(node) * block),
                    partition{block, by.world.lanes(), 1, 1}};
      },
      [&](int node, const T* complete) { line.hand_to(node, complete, it.output, it.count); });
}

}  // namespace allfold::detail
