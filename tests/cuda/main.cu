// The main function of the tests on a GPU. Without one it says so, which CTest counts as skipped.
#include <cuda_runtime.h>

#include <cstdio>

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

int main(int count, char** values) {
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (found != cudaSuccess || devices == 0) {
    std::printf("[doctest] skipped: no CUDA device (%s)\n", cudaGetErrorString(found));
    return 0;
  }
  return doctest::Context{count, values}.run();
}
