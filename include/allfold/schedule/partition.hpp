// Which elements a chunk is.
#pragma once

#include <allfold/config.hpp>
#include <allfold/schedule/step.hpp>
#include <cstddef>

namespace allfold {

/// Part `index` of `total` elements divided into `parts` whose bounds are multiples of `granule`:
/// where it begins. Later parts may be shorter or empty.
ALLFOLD_HOST_DEVICE constexpr std::size_t part_begin(std::size_t total, int parts,
                                                     std::size_t granule, int index) {
  if (index == 0) return 0;
  if (index == parts) return total;
  const auto number = static_cast<std::size_t>(parts);
  const std::size_t even = total / number + (total % number != 0 ? 1 : 0);
  const std::size_t length = (even + granule - 1) / granule * granule;
  const auto place = static_cast<std::size_t>(index);
  return length != 0 && place > total / length ? total
         : length * place < total              ? length * place
                                               : total;
}

/// Elements, by number: the first, and how many.
struct extent {
  std::size_t begin = 0;
  std::size_t count = 0;
};

/// Divides the elements of a collective into chunks.
///  - even: `count` elements, cut into `pieces` that follow each other, each cut into chunks;
///  - by rank: chunk r belongs to rank r and has counts[r] elements (one piece only).
class partition {
 public:
  /// No elements, in one chunk.
  ALLFOLD_HOST_DEVICE constexpr partition() {}
  /// Even chunks whose bounds are multiples of `granule` elements within a piece.
  ALLFOLD_HOST_DEVICE constexpr partition(std::size_t count, int chunks, int pieces,
                                          std::size_t granule)
      : count_{count}, chunks_{chunks}, pieces_{pieces}, granule_{granule} {}
  /// Chunk r has counts[r] elements. `counts` must outlive the partition.
  ALLFOLD_HOST_DEVICE constexpr partition(const std::size_t* counts, int chunks)
      : chunks_{chunks}, counts_{counts} {}

  /// The elements of `width` consecutive chunks of a piece.
  ALLFOLD_HOST_DEVICE constexpr extent of(int chunk, int width, int piece) const {
    if (width == chunks_ && pieces_ == 1 && counts_ == nullptr) return {0, count_};
    const std::size_t first = begin(chunk, piece);
    return {first, begin(chunk + width, piece) - first};
  }
  /// Where chunk `chunk` of piece `piece` begins; `chunk` may be one past the last.
  ALLFOLD_HOST_DEVICE constexpr std::size_t begin(int chunk, int piece) const {
    if (counts_ != nullptr) {
      std::size_t sum = 0;
      for (int i = 0; i < chunk; ++i) sum += counts_[i];
      return sum;
    }
    const std::size_t first = part_begin(count_, pieces_, granule_, piece);
    const std::size_t next = part_begin(count_, pieces_, granule_, piece + 1);
    return first + part_begin(next - first, chunks_, granule_, chunk);
  }
  /// The length of the longest chunk; of a single chunk, over all its pieces.
  ALLFOLD_HOST_DEVICE constexpr std::size_t longest() const {
    if (pieces_ > 1) return count_;
    std::size_t most = 0;
    for (int chunk = 0; chunk < chunks_; ++chunk) {
      const std::size_t length = of(chunk, 1, 0).count;
      most = length > most ? length : most;
    }
    return most;
  }
  /// The counts per rank, or null where the chunks are even.
  ALLFOLD_HOST_DEVICE constexpr const std::size_t* counts() const { return counts_; }
  /// The same with the counts in another place.
  ALLFOLD_HOST_DEVICE constexpr partition with_counts_at(const std::size_t* counts) const {
    partition moved = *this;
    moved.counts_ = counts;
    return moved;
  }
  /// Of even chunks: the same chunks of `count` elements, in one piece.
  constexpr partition section(std::size_t count) const { return {count, chunks_, 1, granule_}; }
  ALLFOLD_HOST_DEVICE constexpr int chunks() const { return chunks_; }
  ALLFOLD_HOST_DEVICE constexpr int pieces() const { return pieces_; }

 private:
  std::size_t count_ = 0;
  int chunks_ = 1;
  int pieces_ = 1;
  std::size_t granule_ = 1;
  const std::size_t* counts_ = nullptr;
};

/// True if a rank's input and slot (or output) hold its own chunk only, not all of them.
ALLFOLD_HOST_DEVICE constexpr bool holds_own_chunk(collective kind, buffer where) {
  if (where == buffer::input || where == buffer::slot)
    return kind == collective::all_gather || kind == collective::gather;
  if (where == buffer::output)
    return kind == collective::reduce_scatter || kind == collective::scatter;
  return false;
}

/// How many elements a rank gives to a collective and gets from it.
struct operand_counts {
  std::size_t input = 0, output = 0;
};
/// Those of `rank`, for a collective with this root over elements that are divided like this.
constexpr operand_counts operand_counts_of(collective kind, int rank, int root,
                                           const partition& parts) {
  const std::size_t whole = parts.begin(parts.chunks(), parts.pieces() - 1);
  const auto held = [&](buffer where) {
    return holds_own_chunk(kind, where) ? parts.of(rank, 1, 0).count : whole;
  };
  const bool gives = (kind != collective::broadcast && kind != collective::scatter) || rank == root;
  const bool gets = (kind != collective::reduce && kind != collective::gather) || rank == root;
  return {gives ? held(buffer::input) : 0, gets ? held(buffer::output) : 0};
}

}  // namespace allfold
