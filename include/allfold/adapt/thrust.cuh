// Thrust's vectors as operands of collectives and as a model's storage.
#pragma once

#include <thrust/detail/raw_pointer_cast.h>
#include <thrust/device_vector.h>

#include <allfold/elements.hpp>

namespace allfold {

/// thrust::device_vector: its elements lie where Thrust's device system has them, on the GPU; if
/// that system is the host's (THRUST_DEVICE_SYSTEM is CPP, OMP or TBB) they lie in host memory.
template <class T, class Allocator>
struct range_access<thrust::device_vector<T, Allocator>> {
#if THRUST_DEVICE_SYSTEM == THRUST_DEVICE_SYSTEM_CUDA
  static constexpr memory_space space = memory_space::device;
#else
  static constexpr memory_space space = memory_space::host;
#endif
  static T* data(thrust::device_vector<T, Allocator>& range) {
    return thrust::raw_pointer_cast(range.data());
  }
  static const T* data(const thrust::device_vector<T, Allocator>& range) {
    return thrust::raw_pointer_cast(range.data());
  }
  static std::size_t size(const thrust::device_vector<T, Allocator>& range) { return range.size(); }
};
template <class T, class Allocator>
struct range_access<const thrust::device_vector<T, Allocator>>
    : range_access<thrust::device_vector<T, Allocator>> {};

}  // namespace allfold
