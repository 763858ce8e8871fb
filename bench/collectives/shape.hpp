// How many elements a collective takes and gives, and where they lie.
#pragma once

#include <allfold/schedule/partition.hpp>
#include <cstddef>

namespace bench {

/// The elements of one rank. As in nccl-tests, a size stands for the larger of the two ends of a
/// collective: what all ranks' shares come to where elements are divided over the ranks.
struct shape {
  std::size_t share = 0;   ///< what the collective calls its count, and the table prints
  std::size_t input = 0;   ///< of a rank; where the collective has a root, of that rank
  std::size_t output = 0;  ///< likewise
  std::size_t whole() const { return input > output ? input : output; }
};

/// For `bytes` bytes; shares are rounded down to whole elements.
inline shape shape_of(allfold::collective what, std::size_t bytes, std::size_t element_bytes,
                      int ranks) {
  using enum allfold::collective;
  const auto parts = static_cast<std::size_t>(ranks);
  const std::size_t count = bytes / element_bytes;
  const std::size_t share = count / parts;
  switch (what) {
    case reduce_scatter:
    case scatter:
      return {share, share * parts, share};
    case all_gather:
    case gather:
      return {share, share, share * parts};
    case all_to_all:
      return {share, share * parts, share * parts};
    case barrier:
      return {};
    default:
      return {count, count, count};
  }
}

/// A rank's memory, as a call takes it.
struct operands {
  std::byte* input = nullptr;
  std::size_t input_count = 0;
  std::byte* output = nullptr;
  std::size_t output_count = 0;
  int root = 0;
};

/// Out of place: one buffer for each end.
inline operands apart(const shape& elements, std::byte* input, std::byte* output, int root) {
  return {input, elements.input, output, elements.output, root};
}

/// In place: in `whole`, where the shorter end is the rank's own share of the longer one.
inline operands in_place(const shape& elements, std::size_t element_bytes, std::byte* whole,
                         int rank, int root) {
  std::byte* const own = whole + static_cast<std::size_t>(rank) * elements.share * element_bytes;
  return {elements.input < elements.output ? own : whole, elements.input,
          elements.output < elements.input ? own : whole, elements.output, root};
}

}  // namespace bench
