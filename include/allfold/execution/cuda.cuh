// Runs any schedule on GPUs: one kernel template over (schedule, element type, operation, scope).
#pragma once

#include <allfold/execution/device_block.hpp>
#include <cuda/atomic>

namespace allfold::cuda {

/// Threads of a block.
inline constexpr int block_threads = 512;
/// Blocks that a multiprocessor can hold at once, whatever the schedule: the kernels are compiled
/// for that.
inline constexpr int blocks_per_multiprocessor = 2;

/// Ranks that share one GPU.
inline constexpr auto gpu_scope = ::cuda::thread_scope_device;
/// Ranks on several GPUs.
inline constexpr auto system_scope = ::cuda::thread_scope_system;

/// How kernels reach other ranks' memory; see device::memory_access.
template <::cuda::thread_scope Scope>
struct kernel_access {
  using word = ::cuda::atomic_ref<std::uint64_t, Scope>;
  using host_word = ::cuda::atomic_ref<std::uint32_t, ::cuda::thread_scope_system>;

  static __device__ std::uint64_t acquire(std::uint64_t* from) {
    return word{*from}.load(::cuda::memory_order_acquire);
  }
  static __device__ std::uint64_t relaxed_load(std::uint64_t* from) {
    return word{*from}.load(::cuda::memory_order_relaxed);
  }
  static __device__ void release(std::uint64_t* to, std::uint64_t value) {
    word{*to}.store(value, ::cuda::memory_order_release);
  }
  static __device__ void relaxed_store(std::uint64_t* to, std::uint64_t value) {
    word{*to}.store(value, ::cuda::memory_order_relaxed);
  }
  static __device__ bool has_failed(device::failure_report* report) {
    return host_word{report->word}.load(::cuda::memory_order_relaxed) !=
               device::failure_report::free ||
           host_word{report->stopped}.load(::cuda::memory_order_relaxed) != 0;
  }
  static __device__ bool claim(std::uint64_t* flag) {
    return word{*flag}.exchange(1, ::cuda::memory_order_relaxed) == 0;
  }
  static __device__ void finish_report(device::failure_report* report) {
    host_word{report->word}.store(device::failure_report::written, ::cuda::memory_order_release);
  }
  static __device__ std::uint64_t now() {
    std::uint64_t nanoseconds;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(nanoseconds));
    return nanoseconds;
  }
  static __device__ void pause() {}
};

/// The threads of a block; see device::lane.
class block_lane {
 public:
  explicit __device__ block_lane(device::block_memory& memory) : memory_{memory} {}
  __device__ int index() const { return static_cast<int>(threadIdx.x); }
  __device__ int count() const { return block_threads; }
  __device__ void sync() const { __syncthreads(); }
  __device__ bool any(bool mine) const { return __syncthreads_or(mine ? 1 : 0) != 0; }
  __device__ device::block_memory& memory() const { return memory_; }

 private:
  device::block_memory& memory_;
};

/// Every version of CUDA passes so many bytes.
inline constexpr std::size_t most_launch_bytes = 4096;

/// One collective of the ranks that a launch runs. Blocks wait for each other, so all must be
/// resident: launched cooperatively.
template <class T, ::cuda::thread_scope Scope, class Schedule, class Operation>
__global__ void __launch_bounds__(block_threads, blocks_per_multiprocessor)
    run_collective(const __grid_constant__ device::launch<Schedule, Operation> call) {
  static_assert(sizeof(call) <= most_launch_bytes,
                "allfold: this schedule or operation is too large for a kernel's parameters");
  // As bytes: shared memory is never initialised.
  __shared__ alignas(device::block_memory) std::byte memory[sizeof(device::block_memory)];
  block_lane threads{reinterpret_cast<device::block_memory&>(memory)};
  device::run_block<T, kernel_access<Scope>>(threads, call, static_cast<int>(blockIdx.x));
}

/// Multiplies `count` elements by a factor, in the type that they are folded in.
template <class T>
__global__ void __launch_bounds__(block_threads)
    multiply_all(T* elements, std::size_t count, double factor) {
  using wide = accumulator<T>;
  const auto stride = static_cast<std::size_t>(gridDim.x) * block_threads;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * block_threads + threadIdx.x;
       i < count; i += stride)
    elements[i] = static_cast<T>(static_cast<wide>(elements[i]) * static_cast<wide>(factor));
}

}  // namespace allfold::cuda
