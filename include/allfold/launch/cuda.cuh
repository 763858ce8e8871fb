// Starts ranks that work on GPUs, and lets them record what they do.
#pragma once

#include <allfold/communicator/cuda.cuh>
#include <allfold/launch/spawn.hpp>

namespace allfold::cuda {

/// Runs `body(world)` on one rank for each entry of `gpus`: rank r on GPU gpus[r]. Entries may
/// repeat: {0, 0, 0, 0} is four virtual ranks on one GPU. `world` is a cuda::communicator&; the
/// rank's thread has its GPU as the current device. Throws what a rank threw first, as
/// allfold::spawn does; collectives that are still under way when `body` returns are waited for.
template <::cuda::thread_scope Scope = system_scope, class Body>
void spawn(const std::vector<int>& gpus, Body&& body, spawn_options options = {}) {
  allfold::spawn(
      static_cast<int>(gpus.size()),
      [&](threads::communicator& control) {
        const int gpu = gpus[static_cast<std::size_t>(control.rank())];
        communicator<Scope> world{std::move(control), gpu};
        const device_scope current{gpu};
        try {
          body(world);
          world.synchronize();
        } catch (...) {
          world.leave_with(std::current_exception());
          throw;
        }
      },
      options);
}

/// What the ranks of a team have recorded with `capture`, to be done again and again.
class graph {
 public:
  graph() = default;
  explicit graph(cudaGraph_t recorded) {
    check(cudaGraphInstantiate(&handle_, recorded, 0), "cudaGraphInstantiate");
  }
  graph(graph&& other) noexcept : handle_{std::exchange(other.handle_, nullptr)} {}
  graph& operator=(graph&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~graph() {
    if (handle_ != nullptr) cudaGraphExecDestroy(handle_);
  }

  /// Does it once more, in the order of all ranks' streams. Every rank calls it: rank 0 launches.
  template <::cuda::thread_scope Scope>
  void launch(communicator<Scope>& world,
              std::source_location where = std::source_location::current()) {
    world.in_one_stream(
        [&](cudaStream_t stream) { check(cudaGraphLaunch(handle_, stream), "cudaGraphLaunch"); },
        where);
  }

 private:
  cudaGraphExec_t handle_ = nullptr;
};

/// Records what `body()` gives to the ranks' streams, collectives and the engine's own work,
/// without doing it. Every rank calls it, and all get a graph, of which rank 0's holds the work.
/// Nothing of a collective is fixed but its operands: replays and other calls may take turns.
template <::cuda::thread_scope Scope, class Body>
graph capture(communicator<Scope>& world, Body&& body,
              std::source_location where = std::source_location::current()) {
  const bool first = world.rank() == 0;
  world.in_one_stream(
      [&](cudaStream_t stream) {
        check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed),
              "cudaStreamBeginCapture");
      },
      where, communicator<Scope>::meeting::parts);
  cudaGraph_t recorded = nullptr;
  try {
    body();
  } catch (...) {  // the streams are not to stay in a recording
    if (first && cudaStreamEndCapture(world.stream(), &recorded) == cudaSuccess)
      cudaGraphDestroy(recorded);
    throw;
  }
  world.in_one_stream(
      [&](cudaStream_t stream) {
        check(cudaStreamEndCapture(stream, &recorded), "cudaStreamEndCapture");
      },
      where, communicator<Scope>::meeting::joins);
  if (!first) return {};
  graph made{recorded};
  cudaGraphDestroy(recorded);
  return made;
}

}  // namespace allfold::cuda
