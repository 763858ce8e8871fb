// Device memory of one process that other processes can reach: for operands, and for copies of
// those that lie elsewhere.
#pragma once

#include <allfold/communicator/cuda_runtime.cuh>
#include <allfold/schedule/partition.hpp>
#include <allfold/schedule/step.hpp>
#include <functional>

namespace allfold::cuda {

/// One allocation in parts: one is given out until the end, the others are for the copies of one
/// call at a time, of a communicator's and of its companion's.
class arena {
 public:
  static constexpr std::size_t alignment = 256;

  arena(std::size_t bytes, std::size_t staging_bytes)
      : bytes_{bytes}, staging_bytes_{staging_bytes}, memory_{bytes + 2 * staging_bytes} {}

  std::byte* data() { return memory_.data(); }
  /// The part that is given out.
  std::size_t bytes() const { return bytes_; }
  /// Each of the parts for copies.
  std::size_t staging_bytes() const { return staging_bytes_; }
  std::byte* staging(bool of_companion) {
    return memory_.data() + bytes_ + (of_companion ? staging_bytes_ : 0);
  }

  /// True for memory that was given out, or may be.
  bool holds(const std::byte* at, std::size_t bytes) const {
    const std::less_equal<> before;
    return before(memory_.data(), at) && before(at + bytes, memory_.data() + bytes_);
  }
  /// `count` elements; a null pointer if there are not so many left.
  template <class T>
  T* take(std::size_t count) {
    const std::size_t begin = (used_ + alignment - 1) / alignment * alignment;
    const std::size_t bytes = count * sizeof(T);
    if (count > bytes_ / sizeof(T) || begin > bytes_ || bytes > bytes_ - begin) return nullptr;
    used_ = begin + bytes;
    return reinterpret_cast<T*>(memory_.data() + begin);
  }

 private:
  std::size_t bytes_, staging_bytes_;
  std::size_t used_ = 0;
  device_buffer<std::byte> memory_;
};

/// Places in one of an arena's parts for copies, for the operands of one call. Calls follow each
/// other in the stream, so each begins anew.
class staging {
 public:
  staging(arena& from, bool of_companion, cudaStream_t on)
      : arena_{from}, begin_{from.staging(of_companion)}, stream_{on} {}

  /// Bytes asked for so far; more than the part has, if something did not fit.
  std::size_t used() const { return used_; }
  /// Null where it does not fit, or nothing is asked for.
  std::byte* take(std::size_t bytes) {
    if (bytes == 0) return nullptr;
    const std::size_t begin = used_;
    used_ += (bytes + arena::alignment - 1) / arena::alignment * arena::alignment;
    return used_ <= arena_.staging_bytes() ? begin_ + begin : nullptr;
  }
  /// Where other ranks can reach `bytes` bytes: there, or in a copy.
  std::byte* reachable(const void* at, std::size_t bytes) {
    auto* const here = static_cast<std::byte*>(const_cast<void*>(at));
    if (at == nullptr || bytes == 0 || arena_.holds(here, bytes)) return here;
    std::byte* const copy = take(bytes);
    // Outputs too: what is copied back must hold what the collective leaves alone.
    if (copy != nullptr)
      check(cudaMemcpyAsync(copy, here, bytes, cudaMemcpyDeviceToDevice, stream_),
            "cudaMemcpyAsync");
    return copy;
  }
  /// Copies a result back from where it was made, if that was a copy.
  void bring_back(void* to, const std::byte* from, std::size_t bytes) {
    if (to == nullptr || to == from || bytes == 0) return;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "cudaMemcpyAsync");
  }

 private:
  arena& arena_;
  std::byte* begin_;
  cudaStream_t stream_;
  std::size_t used_ = 0;
};

/// Bytes of a rank's operands.
struct extents {
  std::size_t input, output;
};

/// Of one rank among `ranks`, whose elements have `size` bytes.
inline extents extents_of(collective kind, int root, int rank, int ranks, const partition& parts,
                          std::size_t size) {
  const std::size_t whole = parts.begin(parts.chunks(), parts.pieces() - 1) * size;
  const std::size_t own = parts.chunks() == ranks ? parts.of(rank, 1, 0).count * size : 0;
  const bool gives = (kind != collective::broadcast && kind != collective::scatter) || rank == root;
  const bool gets = (kind != collective::reduce && kind != collective::gather) || rank == root;
  return {!gives                                 ? 0
          : holds_own_chunk(kind, buffer::input) ? own
                                                 : whole,
          !gets                                   ? 0
          : holds_own_chunk(kind, buffer::output) ? own
                                                  : whole};
}

}  // namespace allfold::cuda
