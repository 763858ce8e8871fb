// What communicators on GPUs have in common: how a collective becomes a launch, and a kernel's
// failure a sentence.
#pragma once

#include <algorithm>
#include <allfold/communicator/call.hpp>
#include <allfold/communicator/cuda_runtime.cuh>
#include <allfold/communicator/cuda_tuning.hpp>
#include <allfold/execution/cuda.cuh>
#include <array>

namespace allfold::cuda {

/// A launch for the ranks of `all` that runs no rank yet. `number` is what failures call it.
template <class T, class Schedule, class Operation>
device::launch<Schedule, Operation> launch_of(const Schedule& plan, const partition& parts,
                                              const Operation& operation, const call& said,
                                              std::uint64_t number, const device::group& all) {
  device::launch<Schedule, Operation> told{
      {plan, operation, parts, {}, device::slice_granule<T>, said.fingerprint(), number},
      all,
      0,
      0,
      0,
      {}};
  for (int i = 0; parts.counts() != nullptr && i < all.size; ++i)
    told.work.counts[i] = parts.counts()[i];
  return told;
}

/// Gives a launch to a stream. `most_lanes` and `count` must be the same on all ranks of the group.
template <class T, ::cuda::thread_scope Scope, class Schedule, class Operation>
void start(device::launch<Schedule, Operation>& told, int most_lanes, std::size_t count,
           cudaStream_t on) {
  told.lanes = reads_slots<Schedule> ? std::min(most_lanes, tuning::shot_lanes)
                                     : lanes_for(count * sizeof(T), most_lanes);
  void* arguments[] = {&told};
  check(cudaLaunchCooperativeKernel(
            reinterpret_cast<const void*>(&run_collective<T, Scope, Schedule, Operation>),
            dim3{static_cast<unsigned>(device::blocks_of(told))}, dim3{block_threads}, arguments, 0,
            on),
        "the launch of a collective");
}

/// Multiplies elements, in a stream of the current device.
template <class T>
void scale(device_span<T> elements, double factor, cudaStream_t on) {
  if (elements.empty()) return;
  const std::size_t blocks = (elements.size() + block_threads - 1) / block_threads;
  multiply_all<<<static_cast<unsigned>(std::min<std::size_t>(blocks, 4096)), block_threads, 0,
                 on>>>(elements.data(), elements.size(), factor);
  check(cudaGetLastError(), "the launch of multiply_all");
}

/// How many blocks of our kernels a GPU holds at once.
inline int blocks_of_gpu(int gpu) {
  int processors = 0;
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, gpu),
        "cudaDeviceGetAttribute");
  return processors * blocks_per_multiprocessor;
}

/// Whether a rank, of so many, can work on a GPU: what speaks against it, or nothing.
inline std::string objection_to(int gpu, int ranks) {
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  if (gpu < 0 || gpu >= count)
    return "there is no GPU " + std::to_string(gpu) + " among " + std::to_string(count);
  if (ranks > device::max_ranks)
    return std::to_string(ranks) + " ranks, but kernels know " + std::to_string(device::max_ranks) +
           " at most";
  return {};
}
/// Gives GPU `gpu`, the current one, access to the memory of the others. What speaks against it.
inline std::string objection_to_peers(int gpu, const std::vector<int>& gpus, bool is_one) {
  for (const int other : gpus) {
    if (other == gpu) continue;
    if (is_one) return "gpu_scope is for ranks that share one GPU";
    if (!reaches(gpu, other))
      return "GPU " + std::to_string(gpu) + " can't reach the memory of GPU " +
             std::to_string(other);
  }
  return {};
}

/// The last calls that a rank has made, for messages.
class call_log {
 public:
  void note(const call& said, std::uint64_t number) { last_[number % last_.size()] = said; }
  std::string describe(std::uint64_t number) const {
    const call& said = last_[number % last_.size()];
    return said.kind == nullptr ? "collective #" + std::to_string(number)
                                : allfold::describe(said, number);
  }

 private:
  std::array<call, 64> last_{};
};

/// A kernel's report in words: who has waited for whom.
inline std::string words_of(const device::failure_report& it) {
  const std::string who =
      "the kernel of rank " + std::to_string(it.rank) + ", block " + std::to_string(it.lane);
  const std::string whom = "rank " + std::to_string(it.peer);
  if (it.kind == device::failure_kind::mismatch)
    return who + ", found that " + whom + " runs another collective";
  return who + ", has waited too long for " + whom +
         (it.step == entered ? " to enter" : " to complete step " + std::to_string(it.step));
}

}  // namespace allfold::cuda
