// Ranks that share one GPU, and its memory for their jobs.
#pragma once

#include <allfold/launch/cuda.cuh>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "support/elements.hpp"

namespace test {

using world = allfold::cuda::communicator<allfold::cuda::gpu_scope>;

/// All ranks on GPU 0.
inline std::vector<int> on_one_gpu(int ranks) {
  return std::vector<int>(static_cast<std::size_t>(ranks), 0);
}

/// Runs `body(world&)` on so many ranks that share the GPU.
template <class Body>
void run_world(int ranks, Body body,
               std::chrono::steady_clock::duration timeout = std::chrono::minutes{2}) {
  allfold::cuda::spawn<allfold::cuda::gpu_scope>(on_one_gpu(ranks), body, {.timeout = timeout});
}

/// Elements as collectives take them.
template <class T>
using operand = allfold::device_span<T>;

/// Pieces of device memory that are used again and again, because the driver takes its time for
/// each. With ALLFOLD_TEST_EXACT_MEMORY in the environment each is as long as asked for and freed
/// at once, so that a memory checker sees where it ends.
class device_pool {
 public:
  struct piece {
    std::byte* data;
    std::size_t size;
  };

  static device_pool& shared() {
    static device_pool all;
    return all;
  }
  piece take(std::size_t bytes) {
    std::size_t size = bytes;
    if (!exact_) {
      size = 256;
      while (size < bytes) size *= 2;
      const std::lock_guard lock{mutex_};
      std::vector<std::byte*>& free = free_[size];
      if (!free.empty()) {
        std::byte* const data = free.back();
        free.pop_back();
        return {data, size};
      }
    }
    void* data = nullptr;
    allfold::cuda::check(cudaMalloc(&data, size), "cudaMalloc");
    return {static_cast<std::byte*>(data), size};
  }
  void give_back(piece it) {
    if (exact_) {
      cudaFree(it.data);
      return;
    }
    const std::lock_guard lock{mutex_};
    free_[it.size].push_back(it.data);
  }

 private:
  bool exact_ = std::getenv("ALLFOLD_TEST_EXACT_MEMORY") != nullptr;
  std::mutex mutex_;
  std::map<std::size_t, std::vector<std::byte*>> free_;  // to the end of the program
};

/// Where ranks work on some bytes: in a copy on the device, which begins on a multiple of 256.
class workplace {
 public:
  explicit workplace(bytes& image)
      : image_{image}, piece_{device_pool::shared().take(image.size())} {
    copy(piece_.data, image_.data(), cudaMemcpyHostToDevice);
  }
  ~workplace() { device_pool::shared().give_back(piece_); }
  workplace(const workplace&) = delete;
  workplace& operator=(const workplace&) = delete;

  std::byte* data() { return piece_.data; }
  /// Brings the bytes back, once what the rank has called is complete.
  void fetch(world& ranks) {
    ranks.synchronize();
    copy(image_.data(), piece_.data, cudaMemcpyDeviceToHost);
  }

 private:
  /// In a stream of the thread's own: the ranks' streams don't wait for the default stream.
  void copy(void* to, const void* from, cudaMemcpyKind how) const {
    allfold::cuda::check(cudaMemcpyAsync(to, from, image_.size(), how, cudaStreamPerThread),
                         "cudaMemcpyAsync");
    allfold::cuda::check(cudaStreamSynchronize(cudaStreamPerThread), "cudaStreamSynchronize");
  }

  bytes& image_;
  device_pool::piece piece_;
};

}  // namespace test
