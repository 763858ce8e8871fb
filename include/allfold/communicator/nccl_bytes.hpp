// Collectives that only move bytes, by NCCL's calls.
#pragma once

#include <cuda_runtime.h>
#include <nccl.h>

#include <allfold/communicator/byte_layout.hpp>

namespace allfold::nccl {

/// Gives calls to a stream, and answers what NCCL answered: ncclInProgress is no failure.
class byte_mover {
 public:
  byte_mover(ncclComm_t comm, cudaStream_t stream, int rank, int size)
      : comm_{comm}, stream_{stream}, rank_{rank}, size_{size} {}

  ncclResult_t broadcast(const std::byte* input, std::byte* output, std::size_t bytes,
                         int root) const {
    return ncclBroadcast(input, output, bytes, ncclUint8, root, comm_, stream_);
  }
  ncclResult_t all_gather(const std::byte* input, std::byte* output, std::size_t bytes) const {
    return ncclAllGather(input, output, bytes, ncclUint8, comm_, stream_);
  }
  /// NCCL has no all-gather by counts: a broadcast from each rank.
  ncclResult_t all_gather(const std::byte* input, std::byte* output,
                          const byte_layout& parts) const {
    return grouped([&](auto call) {
      for (int peer = 0; peer < size_; ++peer) {
        std::byte* const part = output + parts.begin(peer);
        call(broadcast(peer == rank_ ? input : part, part, parts.bytes(peer), peer));
      }
    });
  }
  ncclResult_t scatter(const std::byte* input, std::byte* output, const byte_layout& parts,
                       int root) const {
    return grouped([&](auto call) {
      for (int peer = 0; rank_ == root && peer < size_; ++peer)
        call(send(input + parts.begin(peer), parts.bytes(peer), peer));
      call(receive(output, parts.bytes(rank_), root));
    });
  }
  ncclResult_t gather(const std::byte* input, std::byte* output, const byte_layout& parts,
                      int root) const {
    return grouped([&](auto call) {
      call(send(input, parts.bytes(rank_), root));
      for (int peer = 0; rank_ == root && peer < size_; ++peer)
        call(receive(output + parts.begin(peer), parts.bytes(peer), peer));
    });
  }
  /// Part r of rank s becomes part s of rank r. `input` and `output` are apart.
  ncclResult_t exchange(const std::byte* input, std::byte* output, std::size_t share) const {
    return grouped([&](auto call) {
      for (int peer = 0; peer < size_; ++peer) {
        const std::size_t begin = share * static_cast<std::size_t>(peer);
        call(send(input + begin, share, peer));
        call(receive(output + begin, share, peer));
      }
    });
  }

 private:
  ncclResult_t send(const std::byte* from, std::size_t bytes, int to) const {
    return ncclSend(from, bytes, ncclUint8, to, comm_, stream_);
  }
  ncclResult_t receive(std::byte* into, std::size_t bytes, int from) const {
    return ncclRecv(into, bytes, ncclUint8, from, comm_, stream_);
  }
  /// Has NCCL carry out several calls together; the first that fails is the answer.
  template <class Calls>
  static ncclResult_t grouped(Calls calls) {
    ncclResult_t first = ncclGroupStart();
    if (first != ncclSuccess) return first;
    calls([&](ncclResult_t answer) {
      if (first == ncclSuccess && answer != ncclInProgress) first = answer;
    });
    const ncclResult_t end = ncclGroupEnd();
    return first != ncclSuccess ? first : end;
  }

  ncclComm_t comm_;
  cudaStream_t stream_;
  int rank_;
  int size_;
};

}  // namespace allfold::nccl
