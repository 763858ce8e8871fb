// Who takes part in the benchmark of GPU collectives: this library's algorithms, a kernel that
// nobody waits in, a plain copy, and NCCL.
#pragma once

#include <allfold/allfold.hpp>
#include <allfold/launch/cuda.cuh>
#include <memory>
#include <string>
#include <vector>

#if __has_include(<nccl.h>) && defined(GPU_BENCH_WITH_NCCL)
#include <allfold/communicator/nccl.hpp>
#define GPU_BENCH_HAS_NCCL 1
#else
#define GPU_BENCH_HAS_NCCL 0
#endif

namespace gpu_bench {

using world = allfold::cuda::communicator<allfold::cuda::gpu_scope>;
using allfold::cuda::check;

inline constexpr int most_ranks = 8;

/// `direct` without its short cut for short messages: its steps at every size.
struct two_shot {
  static constexpr allfold::collective kind = allfold::collective::all_reduce;
  static constexpr std::string_view name = "two_shot";

  ALLFOLD_HOST_DEVICE constexpr int chunks(int size) const {
    return allfold::direct{}.chunks(size);
  }
  ALLFOLD_HOST_DEVICE constexpr int steps(int size) const { return allfold::direct{}.steps(size); }
  ALLFOLD_HOST_DEVICE constexpr allfold::step at(int rank, int size, int index) const {
    return allfold::direct{}.at(rank, size, index);
  }
  ALLFOLD_HOST_DEVICE constexpr allfold::waits exit(int rank, int size) const {
    return allfold::direct{}.exit(rank, size);
  }
};

}  // namespace gpu_bench

template <>
inline constexpr bool allfold::trusted<gpu_bench::two_shot> = true;  // the steps of direct

namespace gpu_bench {

/// All ranks' memory, as rank 0 needs it who works for all.
struct all_buffers {
  const float* input[most_ranks];
  float* output[most_ranks];
};

/// One rank's part of a call.
struct operands {
  const float* input;
  float* output;
  std::size_t count;
  all_buffers all;
};

/// A way to do an all_reduce. Each rank has its own, and all call the same.
class contender {
 public:
  virtual ~contender() = default;
  virtual std::string name() const = 0;
  virtual bool takes(std::size_t /*bytes*/) const { return true; }
  /// Whether what is in the outputs is the sum.
  virtual bool sums() const { return true; }
  virtual bool works_in_graphs() const { return true; }
  /// Gives one call to the ranks' streams. Every rank calls it.
  virtual void call(world& ranks, const operands& with) = 0;
  /// Waits until all calls are complete.
  virtual void finish(world& ranks) { ranks.synchronize(); }
};

// ---- the oracle ----

/// Folds all inputs and writes the sum to all outputs: four packets of 16 bytes in flight a thread,
/// as the library's kernels have them, and nothing to wait for.
template <int Ranks>
__global__ void __launch_bounds__(512)
    fold_without_waiting(const all_buffers all, std::size_t count) {
  constexpr int flight = 4;
  const std::size_t threads = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::size_t packets = count / 4;
  const auto fold = [&]<int Count>(std::integral_constant<int, Count>, std::size_t at) {
    float4 sum[Count];
#pragma unroll
    for (int rank = 0; rank < Ranks; ++rank)
#pragma unroll
      for (int k = 0; k < Count; ++k) {
        const float4 next = reinterpret_cast<const float4*>(all.input[rank])[at + k * threads];
        if (rank == 0)
          sum[k] = next;
        else
          sum[k] = {sum[k].x + next.x, sum[k].y + next.y, sum[k].z + next.z, sum[k].w + next.w};
      }
#pragma unroll
    for (int rank = 0; rank < Ranks; ++rank)
#pragma unroll
      for (int k = 0; k < Count; ++k)
        reinterpret_cast<float4*>(all.output[rank])[at + k * threads] = sum[k];
  };
  std::size_t at = first;
  for (; at + (flight - 1) * threads < packets; at += flight * threads)
    fold(std::integral_constant<int, flight>{}, at);
  for (; at < packets; at += threads) fold(std::integral_constant<int, 1>{}, at);
  for (std::size_t i = packets * 4 + first; i < count; i += threads) {
    float sum = all.input[0][i];
    for (int rank = 1; rank < Ranks; ++rank) sum += all.input[rank][i];
    for (int rank = 0; rank < Ranks; ++rank) all.output[rank][i] = sum;
  }
}

template <int Ranks>
class oracle final : public contender {
 public:
  oracle() {
    int device = 0, processors = 0, blocks = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
          "cudaDeviceGetAttribute");
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, fold_without_waiting<Ranks>,
                                                        threads, 0),
          "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
    most_blocks_ = static_cast<std::size_t>(processors * blocks);
  }
  std::string name() const override { return "oracle"; }
  void call(world& ranks, const operands& with) override {
    if (ranks.rank() != 0) return;
    const std::size_t wanted = (with.count / 4 + threads - 1) / threads;
    const std::size_t blocks = wanted < 1 ? 1 : wanted < most_blocks_ ? wanted : most_blocks_;
    fold_without_waiting<Ranks>
        <<<static_cast<unsigned>(blocks), threads, 0, ranks.stream()>>>(with.all, with.count);
    check(cudaGetLastError(), "the launch of the oracle");
  }

 private:
  static constexpr int threads = 512;
  std::size_t most_blocks_;
};

/// As many bytes as the oracle reads and writes, without a sum.
class plain_copy final : public contender {
 public:
  std::string name() const override { return "copy"; }
  bool sums() const override { return false; }
  void call(world& ranks, const operands& with) override {
    if (ranks.rank() != 0) return;
    for (int rank = 0; rank < ranks.size(); ++rank)
      check(cudaMemcpyAsync(with.all.output[rank], with.all.input[rank], with.count * sizeof(float),
                            cudaMemcpyDeviceToDevice, ranks.stream()),
            "cudaMemcpyAsync");
  }
};

// ---- this library ----

template <class Algorithm>
class by_algorithm final : public contender {
 public:
  explicit by_algorithm(std::string name, std::size_t most_bytes = ~std::size_t{0})
      : name_{std::move(name)}, most_bytes_{most_bytes} {}
  std::string name() const override { return name_; }
  bool takes(std::size_t bytes) const override { return bytes <= most_bytes_; }
  void call(world& ranks, const operands& with) override {
    allfold::all_reduce<Algorithm>(ranks, allfold::device_span<const float>{with.input, with.count},
                                   allfold::device_span<float>{with.output, with.count});
  }

 private:
  std::string name_;
  std::size_t most_bytes_;
};

// ---- NCCL ----

#if GPU_BENCH_HAS_NCCL
/// NCCL, whose version 2.30 is the first that takes several ranks on one GPU.
class by_nccl final : public contender {
 public:
  static constexpr int first_version = 23000;

  /// Every rank calls it.
  by_nccl(world& ranks, bool in_graphs)
      : ranks_{ranks.control().split(0), ranks.gpu(), {std::chrono::seconds{30}}},
        in_graphs_{in_graphs} {
    ranks_.use_stream(ranks.stream());
  }
  std::string name() const override { return "nccl"; }
  bool works_in_graphs() const override { return in_graphs_; }
  void call(world&, const operands& with) override {
    allfold::all_reduce<allfold::native>(ranks_,
                                         allfold::device_span<const float>{with.input, with.count},
                                         allfold::device_span<float>{with.output, with.count});
  }
  void finish(world&) override { ranks_.synchronize(); }  // with a time limit

 private:
  allfold::nccl::communicator ranks_;
  bool in_graphs_;
};
#endif

inline std::unique_ptr<contender> oracle_of(int ranks) {
  if (ranks == 2) return std::make_unique<oracle<2>>();
  if (ranks == 4) return std::make_unique<oracle<4>>();
  return std::make_unique<oracle<8>>();
}

/// Those that are always there.
inline std::vector<std::unique_ptr<contender>> contenders_of(int ranks) {
  std::vector<std::unique_ptr<contender>> all;
  all.push_back(oracle_of(ranks));
  all.push_back(std::make_unique<plain_copy>());
  all.push_back(std::make_unique<by_algorithm<allfold::direct>>("direct"));
  all.push_back(std::make_unique<by_algorithm<allfold::automatic>>("automatic"));
  all.push_back(std::make_unique<by_algorithm<two_shot>>("two_shot", std::size_t{512} << 10));
  all.push_back(std::make_unique<by_algorithm<allfold::ring>>("ring"));
  all.push_back(std::make_unique<by_algorithm<allfold::tree>>("tree"));
  all.push_back(std::make_unique<by_algorithm<allfold::halving_doubling>>("halving_doubling"));
  all.push_back(std::make_unique<by_algorithm<allfold::primary<>>>("primary"));
  return all;
}

}  // namespace gpu_bench
