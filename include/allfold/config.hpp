// The version, and the few macros the library needs.
#pragma once

#define ALLFOLD_VERSION_MAJOR 0
#define ALLFOLD_VERSION_MINOR 1
#define ALLFOLD_VERSION_PATCH 0

/// Marks what runs on the host and, when compiled by nvcc, in kernels too.
#if defined(__CUDACC__)
#define ALLFOLD_HOST_DEVICE __host__ __device__
#else
#define ALLFOLD_HOST_DEVICE
#endif

/// Before a loop: the compiler of kernels is to unroll it, so that what it indexes stays in
/// registers; or not to, so that there are enough of them.
#if defined(__CUDA_ARCH__)
#define ALLFOLD_UNROLL _Pragma("unroll")
#define ALLFOLD_ROLLED _Pragma("unroll 1")
#else
#define ALLFOLD_UNROLL
#define ALLFOLD_ROLLED
#endif
