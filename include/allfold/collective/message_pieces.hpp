// How a message over several nodes is cut, and what becomes of its pieces.
#pragma once

#include <algorithm>
#include <allfold/collective/two_levels.hpp>

namespace allfold::detail {

/// A message of one call, cut into pieces that follow each other, and each piece into a part for
/// every lane; or, where `shared` is false, into pieces of which lane `speaker` has all.
template <class Call, class T>
class message_pieces {
 public:
  message_pieces(Call& by, std::size_t count, bool shared, int speaker)
      : by_{by},
        shared_{shared},
        speaker_{speaker},
        parts_{count, by.world.lanes(), number_for(by.world, shared, count), granule} {}

  bool shared() const { return shared_; }
  int number() const { return parts_.pieces(); }
  /// This rank's part of a piece.
  extent mine(int piece) const { return shared_ ? parts_.of(by_.lane, 1, piece) : all(piece); }
  bool has_part() const { return shared_ || by_.lane == speaker_; }
  /// Where a piece begins.
  std::size_t begin(int piece) const { return all(piece).begin; }
  /// A piece's parts, counted from its own beginning.
  partition parts_of(int piece) const { return {all(piece).count, parts_.chunks(), 1, granule}; }
  /// Nothing is longer than the first piece, and the first lane's part of it.
  std::size_t longest_piece() const { return all(0).count; }
  std::size_t longest_part() const { return shared_ ? parts_.of(0, 1, 0).count : all(0).count; }

  // What happens to a piece inside the node. `part` is this rank's, wherever it lies; inputs and
  // outputs are those of the whole message.

  /// Every rank's part becomes the fold of all inputs.
  template <class Operation>
  void fold_inside(int piece, const T* input, T* part, const Operation& operation) {
    const T* const from = offset(input, all(piece).begin);
    if (shared_)
      by_.inside.template in_parts<collective::reduce_scatter>(from, part, parts_of(piece), 0,
                                                               operation);
    else
      by_.inside.template evenly<collective::reduce>(from, has_part() ? part : nullptr,
                                                     all(piece).count, speaker_, operation);
  }
  /// Every rank's output becomes all parts.
  void spread_inside(int piece, const T* part, T* output) {
    T* const to = offset(output, all(piece).begin);
    if (shared_)
      by_.inside.template in_parts<collective::all_gather>(part, to, parts_of(piece));
    else
      by_.inside.template evenly<collective::broadcast>(has_part() ? part : nullptr, to,
                                                        all(piece).count, speaker_);
  }
  /// The root lane's output becomes all parts.
  void collect_inside(int piece, const T* part, T* output) {
    if (shared_)
      by_.inside.template in_parts<collective::gather>(part, offset(output, all(piece).begin),
                                                       parts_of(piece), by_.root_lane);
  }
  /// Every rank's part becomes what the root lane's input has for it.
  void share_out_inside(int piece, const T* input, T* part) {
    if (shared_)
      by_.inside.template in_parts<collective::scatter>(offset(input, all(piece).begin), part,
                                                        parts_of(piece), by_.root_lane);
  }

  /// Calls inward(p), across(p) and outward(p) for every piece p in this order, each of the three
  /// for one piece after the other; across(p) while inward(p + 1) goes on, if a second thread may
  /// do so, or a second stream of a device.
  template <class Inward, class Across, class Outward>
  void run(Inward inward, Across across, Outward outward) {
    const auto pass = [&](int piece) {
      if (has_part()) across(piece);
    };
    if constexpr (Call::in_streams) {
      by_.world.in_streams(number(), inward, pass, outward);
    } else if (number() > 1 && by_.world.pipelined()) {
      by_.world.worker().run(number(), inward, pass, outward,
                             [&] { return by_.world.failed_across(); });
    } else {
      for (int piece = 0; piece < number(); ++piece) {
        inward(piece);
        pass(piece);
        outward(piece);
      }
    }
  }

 private:
  static constexpr std::size_t granule = sizeof(T) >= 64 ? 1 : 64 / sizeof(T);

  template <class World>
  static int number_for(const World& world, bool shared, std::size_t count) {
    constexpr std::size_t most = 1 << 20;  // a number that fits an int
    const auto senders = static_cast<std::size_t>(shared ? world.lanes() : 1);
    const std::size_t one = world.options().piece_bytes * senders;
    return static_cast<int>(std::clamp<std::size_t>((count * sizeof(T) + one - 1) / one, 1, most));
  }
  extent all(int piece) const { return parts_.of(0, parts_.chunks(), piece); }

  Call& by_;
  bool shared_;
  int speaker_;
  partition parts_;
};

/// The pieces of a message that no rank has a share of. Short ones are not shared out: one lane has
/// all; nor those that an algorithm would fold which does not reduce_scatter.
template <class T, class Call>
message_pieces<Call, T> cut(Call& by, std::size_t count, int speaker, bool folds) {
  const bool is_short = count * sizeof(T) <= by.world.options().one_lane_bytes;
  const bool shared = !is_short && (!folds || folds_in_lanes<typename Call::inside_algorithm>);
  return {by, count, shared, speaker};
}

}  // namespace allfold::detail
