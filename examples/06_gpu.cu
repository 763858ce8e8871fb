// Four ranks on one GPU: a collective, and the same recorded once and replayed.
#include <allfold/allfold.hpp>
#include <allfold/launch/cuda.cuh>
#include <cstdio>
#include <vector>

namespace gpu = allfold::cuda;

int main() {
  try {
    gpu::spawn<gpu::gpu_scope>({0, 0, 0, 0}, [](auto& world) {
      gpu::device_buffer<float> gradient{
          std::vector<float>(1'000'000, static_cast<float>(world.rank() + 1))};

      allfold::all_reduce<allfold::ring>(world, gradient);  // given to world.stream()
      world.synchronize();
      if (world.rank() == 0) std::printf("%g\n", gradient.to_host()[0]);  // 1 + 2 + 3 + 4

      // Recorded, not done; then done a hundred times. The average of equal numbers is the number.
      gpu::graph step =
          gpu::capture(world, [&] { allfold::all_reduce(world, gradient, allfold::average{}); });
      for (int i = 0; i < 100; ++i) step.launch(world);
      world.synchronize();
      if (world.rank() == 0) std::printf("%g\n", gradient.to_host()[0]);
    });
  } catch (const gpu::cuda_error& failed) {
    std::printf("skipped: %s\n", failed.what());
  }
}
