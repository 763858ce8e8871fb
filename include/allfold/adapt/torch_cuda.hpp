// LibTorch's modules on GPUs as models: CUDA tensors, trained by ranks that work on GPUs.
#pragma once

#include <c10/cuda/CUDAStream.h>

#include <allfold/adapt/torch.hpp>
#include <allfold/communicator/cuda_runtime.cuh>

namespace allfold {

/// CUDA tensors on the GPU of a rank of cuda::communicator, cuda::process_communicator or
/// nccl::communicator. Needs LibTorch for CUDA and the CUDA runtime, but no nvcc.
struct torch_gpu_memory {
  static constexpr memory_space space = memory_space::device;

  template <class World>
  static c10::Device device_of(const World& world) {
    return {c10::kCUDA, static_cast<c10::DeviceIndex>(world.gpu())};
  }
  static cudaStream_t current_stream(c10::Device gpu) {
    return c10::cuda::getCurrentCUDAStream(gpu.index()).stream();
  }
  static void keep_for(const torch::Tensor& memory, c10::Device gpu) {
    memory.record_stream(c10::cuda::getCurrentCUDAStream(gpu.index()));
  }
};

/// A torch::nn::Module whose parameters and buffers lie on its rank's GPU:
///
///     allfold::torch_cuda_model<> model{net, world};
///     allfold::data_parallel<allfold::torch_cuda_model<>, allfold::distributed<>> replica{model,
///                                                                                        world};
template <class Element = float>
using torch_cuda_model = torch_model<Element, torch_gpu_memory>;

}  // namespace allfold
