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
