// Ranks on several nodes of GPUs. One GPU stands for all: its ranks are divided into nodes, and
// lanes are connected by kernels as well; or by NCCL, where it takes several ranks on a GPU.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include <allfold/adapt/thrust.cuh>
#include <allfold/allfold.hpp>
#include <allfold/collective/device_hierarchical.hpp>
#include <allfold/communicator/cuda_processes.cuh>
#include <allfold/launch/cuda.cuh>

#ifdef ALLFOLD_TEST_NCCL
#include <allfold/communicator/nccl.hpp>
#endif

#include "support/failures.hpp"

namespace {

using namespace allfold;
using allfold::cuda::device_buffer;
using kernels = allfold::cuda::communicator<allfold::cuda::gpu_scope>;
using controls = threads::communicator;

constexpr nodes::options fine{.one_lane_bytes = 256, .piece_bytes = 4096};
constexpr std::size_t counts[] = {0, 1, 3, 64, 100, 5000, 100'003};

/// Whole numbers, so that NCCL's order does not matter.
std::vector<float> values_of(int rank, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>((i * 31 + static_cast<std::size_t>(rank) * 17) % 101);
  return values;
}
std::vector<float> sum_of(int ranks, std::size_t count) {
  std::vector<float> sum(count);
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<float> each = values_of(rank, count);
    for (std::size_t i = 0; i < count; ++i) sum[i] += each[i];
  }
  return sum;
}

struct model {
  device_buffer<float> weights{std::vector<float>(5000, 1.0f)}, slopes{5000};
  std::vector<device_span<float>> parameters() { return {span_of(weights)}; }
  std::vector<device_span<float>> gradients() { return {span_of(slopes)}; }
};

/// All that a rank can be asked; what is wrong is listed.
template <class World>
void use(World& world, test::failures& list) {
  using algorithm =
      hierarchical<direct,
                   std::conditional_t<has_engine<typename World::across_type>, native, direct>>;
  const int n = world.size();
  const std::string who = world.name();
  for (const std::size_t count : counts) {
    device_buffer<float> data{values_of(world.rank(), count)}, result{count};
    all_reduce<algorithm>(world, data, result);
    broadcast(world, data, n - 1);
    barrier(world);
    world.synchronize();
    const std::string what = who + ", " + std::to_string(count) + " elements";
    if (result.to_host() != sum_of(n, count)) list.add("all_reduce, " + what);
    if (data.to_host() != values_of(n - 1, count)) list.add("broadcast, " + what);
  }
  for (const overlap how : {overlap::none, overlap::by_thread}) {
    model its;
    data_parallel<model, distributed<algorithm>> replica{
        its, world, {.scale = scale::sum, .overlap = how}};
    its.slopes.copy_from(values_of(world.rank(), 5000));
    replica.backward([&](auto&& ready) { ready(std::size_t{0}); });
    world.synchronize();
    if (its.slopes.to_host() != sum_of(n, 5000)) list.add("training, " + who);
  }
}

/// Nodes of so many lanes, all on GPU 0; `connect` makes a lane's communicator.
template <class Connect>
void on_nodes(int count, int lanes, Connect connect) {
  CAPTURE(count);
  CAPTURE(lanes);
  test::failures list;
  spawn(count * lanes, [&](controls& flat) {
    auto here = flat.split(flat.rank() / lanes);
    auto lane = flat.split(flat.rank() % lanes);
    auto across = connect(std::move(lane));
    nodes::device_communicator<kernels, decltype(across)> world{kernels{std::move(here), 0},
                                                                std::move(across), fine};
    try {
      use(world, list);
    } catch (...) {
      world.leave_with(std::current_exception());
      throw;
    }
  });
  CHECK_NONE(list);
}

}  // namespace

TEST_CASE("nodes of virtual ranks, connected by kernels") {
  for (int nodes = 1; nodes <= 3; ++nodes)
    for (int lanes = 1; lanes <= 3; ++lanes)
      on_nodes(nodes, lanes, [](controls lane) { return kernels{std::move(lane), 0}; });
}

#ifdef ALLFOLD_TEST_NCCL

namespace {

/// Several ranks on one GPU need NCCL 2.30 and its leave.
int most_nodes() {
  int version = 0;
  ncclGetVersion(&version);
  const char* const leave = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  return version >= NCCL_VERSION(2, 30, 0) && leave != nullptr && std::string{leave} == "1" ? 2 : 1;
}

}  // namespace

TEST_CASE("nodes of virtual ranks, connected by NCCL") {
  if (most_nodes() == 1) MESSAGE("one node only: NCCL takes no two ranks on a GPU here");
  for (int nodes = 1; nodes <= most_nodes(); ++nodes)
    for (int lanes = 1; lanes <= 3; ++lanes)
      on_nodes(nodes, lanes, [](controls lane) { return nccl::communicator{std::move(lane), 0}; });
}

namespace {

/// Processes of a machine, and NCCL from machine to machine: the levels can't be moved, and are
/// made in place. One rank alone is both.
using process_nodes =
    nodes::device_communicator<allfold::cuda::process_communicator, nccl::communicator>;

}  // namespace

TEST_CASE("processes inside a node, connected by NCCL") {
  const auto alone = [](const void* mine, std::size_t size, void* all) {
    std::copy_n(static_cast<const std::byte*>(mine), size, static_cast<std::byte*>(all));
  };
  ncclUniqueId id;
  REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
  process_nodes world{[&] {
                        return allfold::cuda::process_communicator{0, 1, 0, alone};
                      },
                      [&] {
                        return nccl::communicator{id, 0, 1, 0};
                      },
                      fine};
  CHECK(world.enqueues_at_once());
  test::failures list;
  use(world, list);
  CHECK_NONE(list);
}

#endif
