// The 16-bit floating-point types of compilers and of CUDA, where there are any.
#pragma once

#pragma GCC system_header  // CUDA's headers don't compile without warnings, nor do extensions

#if defined(__FLT16_MANT_DIG__)
#define TEST_HAS_FLOAT16 1
namespace test {
using float16 = _Float16;
}
#else
#define TEST_HAS_FLOAT16 0
#endif

// Earlier compilers can store a __bf16, but not convert it.
#if defined(__BFLT16_MANT_DIG__) || \
    (defined(__clang__) && __clang_major__ >= 17 && defined(__SSE2__))
#define TEST_HAS_BF16 1
namespace test {
using bf16 = __bf16;
}
#else
#define TEST_HAS_BF16 0
#endif

#if __has_include(<cuda_bf16.h>) && __has_include(<cuda_fp16.h>)
#define TEST_HAS_CUDA_TYPES 1
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#define TEST_HAS_CUDA_TYPES 0
#endif
