// What differs between Thrust's device being a GPU (nvcc) and being the processor (g++): where the
// ranks live, which library multiplies matrices, and what else they give to a rank's stream.
#pragma once

#include <thrust/execution_policy.h>

#include <allfold/adapt/thrust.cuh>
#include <allfold/allfold.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#if THRUST_DEVICE_SYSTEM == THRUST_DEVICE_SYSTEM_CUDA
#include <cublas_v2.h>

#include <allfold/launch/cuda.cuh>
#else
#include <Eigen/Core>
#endif

namespace thrust_example {

/// A matrix by columns, one behind the other, in the memory of Thrust's device system.
template <class T>
struct matrix {
  T* data;
  int rows, columns;
};

/// How a factor of a product is taken.
enum class as { it_is, transposed };

struct missing_device : std::runtime_error {
  using std::runtime_error::runtime_error;
};

#if THRUST_DEVICE_SYSTEM == THRUST_DEVICE_SYSTEM_CUDA

using world = allfold::cuda::communicator<allfold::cuda::gpu_scope>;

/// Runs `body(world&)` on so many ranks, all of them on GPU 0.
template <class Body>
void spawn(int ranks, Body body) {
  allfold::cuda::spawn<allfold::cuda::gpu_scope>(std::vector<int>(static_cast<std::size_t>(ranks)),
                                                 body);
}

/// Throws missing_device where there is none.
inline std::string name_of_device() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0)
    throw missing_device{"there is no CUDA device"};
  cudaDeviceProp properties{};
  allfold::cuda::check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  return std::string{properties.name} + ", Thrust on CUDA, cuBLAS";
}

/// Where a rank's work is done, one piece after the other: on its communicator's stream.
class engine {
 public:
  explicit engine(const world& ranks) : stream_{ranks.stream()} {
    check(cublasCreate(&blas_));
    check(cublasSetStream(blas_, stream_));
  }
  ~engine() { cublasDestroy(blas_); }
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// For Thrust's algorithms. Those that return nothing don't wait.
  auto policy() const { return thrust::cuda::par_nosync.on(stream_); }
  /// Waits until all that was given is done.
  void finish() const {
    allfold::cuda::check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

  /// product = a · b.
  void multiply(matrix<const float> a, as how_a, matrix<const float> b, as how_b,
                matrix<float> product) const {
    const auto taken = [](as how) { return how == as::transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
    const float one = 1.0f, zero = 0.0f;
    check(cublasSgemm(blas_, taken(how_a), taken(how_b), product.rows, product.columns,
                      how_a == as::transposed ? a.rows : a.columns, &one, a.data, a.rows, b.data,
                      b.rows, &zero, product.data, product.rows));
  }

 private:
  static void check(cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS)
      throw std::runtime_error{std::string{"cuBLAS: "} + cublasGetStatusString(status)};
  }

  cudaStream_t stream_;
  cublasHandle_t blas_ = nullptr;
};

#else

using world = allfold::threads::communicator;

/// Runs `body(world&)` on so many ranks, each a thread.
template <class Body>
void spawn(int ranks, Body body) {
  allfold::spawn(ranks, body, {.pin = ranks <= allfold::usable_cores()});
}

inline std::string name_of_device() { return "Thrust on the processor, Eigen"; }

/// Where a rank's work is done, one piece after the other: in the rank's thread.
class engine {
 public:
  explicit engine(const world&) {}

  /// For Thrust's algorithms.
  auto policy() const { return thrust::device; }
  /// Nothing to wait for.
  void finish() const {}

  /// product = a · b.
  void multiply(matrix<const float> a, as how_a, matrix<const float> b, as how_b,
                matrix<float> product) const {
    const auto left = map<const Eigen::MatrixXf>(a), right = map<const Eigen::MatrixXf>(b);
    auto result = map<Eigen::MatrixXf>(product);
    if (how_a == as::transposed)
      result.noalias() = left.transpose() * right;
    else if (how_b == as::transposed)
      result.noalias() = left * right.transpose();
    else
      result.noalias() = left * right;
  }

 private:
  template <class Matrix, class T>
  static Eigen::Map<Matrix> map(matrix<T> it) {
    return {it.data, it.rows, it.columns};
  }
};

#endif

}  // namespace thrust_example
