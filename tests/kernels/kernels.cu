// Every schedule as a kernel, and the element types and operations that ask most of the registers:
// compiled, not run. tests/kernels/check reads what the compiler says of them.
#include <allfold/allfold.hpp>
#include <allfold/execution/cuda.cuh>
#include <complex>

namespace af = allfold;

namespace {

/// A user's own type and operation.
struct sample {
  float weight, value, square;
};
struct add_up {
  __host__ __device__ sample operator()(const sample& a, const sample& b) const {
    return {a.weight + b.weight, a.value + b.value, a.square + b.square};
  }
};

template <class T, class Schedule, class Operation = af::sum, auto Scope = af::cuda::gpu_scope>
const void* kernel() {
  return reinterpret_cast<const void*>(&af::cuda::run_collective<T, Scope, Schedule, Operation>);
}

}  // namespace

/// Whoever links this has them all.
const void* all_kernels[] = {
    kernel<float, af::direct>(),
    kernel<float, af::one_shot>(),
    kernel<float, af::ring>(),
    kernel<float, af::tree>(),
    kernel<float, af::halving_doubling>(),
    kernel<float, af::primary<0>>(),
    kernel<float, af::direct::reduce>(),
    kernel<float, af::ring::reduce>(),
    kernel<float, af::tree::reduce>(),
    kernel<float, af::primary<0>::reduce>(),
    kernel<float, af::direct::reduce_scatter>(),
    kernel<float, af::ring::reduce_scatter>(),
    kernel<float, af::direct::broadcast>(),
    kernel<float, af::ring::broadcast>(),
    kernel<float, af::tree::broadcast>(),
    kernel<float, af::direct::all_gather>(),
    kernel<float, af::ring::all_gather>(),
    kernel<float, af::direct::scatter>(),
    kernel<float, af::direct::gather>(),
    kernel<float, af::direct::all_to_all>(),
    kernel<float, af::direct, af::sum, af::cuda::system_scope>(),
    kernel<float, af::one_shot, af::sum, af::cuda::system_scope>(),
    kernel<double, af::tree, af::maximum>(),
    kernel<double, af::one_shot>(),
    kernel<af::half, af::direct, af::average>(),
    kernel<af::half, af::one_shot, af::average>(),
    kernel<af::bfloat16, af::tree, af::average>(),
    kernel<signed char, af::direct, af::average>(),
    kernel<long long, af::direct, af::minimum>(),
    kernel<std::complex<float>, af::direct>(),
};
/// Elements that no number of fills 16 bytes are moved one by one.
const void* kernels_without_packets[] = {
    kernel<sample, af::direct, add_up>(),
    kernel<char, af::direct::barrier>(),
};
