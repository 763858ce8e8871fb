// Messages of several pieces, and of more bytes than 32 bits can count.
#include <thrust/count.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/tabulate.h>

#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "cuda/on_device.cuh"
#include "support/folding.hpp"
#include "support/moving.hpp"

namespace {

using test::world;
using element = signed char;

/// Element i of rank r, so small that those of two ranks can be added.
struct element_of_rank {
  int rank;

  ALLFOLD_HOST_DEVICE element operator()(std::size_t i) const {
    return static_cast<element>((i * 31 + i / 4096 + static_cast<std::size_t>(rank) * 17) % 50);
  }
};

/// True where an element is not the sum of two ranks' elements.
struct is_no_sum {
  const element* found;

  ALLFOLD_HOST_DEVICE bool operator()(std::size_t i) const {
    return found[i] != element_of_rank{0}(i) + element_of_rank{1}(i);
  }
};

/// An all_reduce of `count` bytes on two ranks, made and checked on the GPU.
template <class Algorithm>
void try_huge(std::size_t count) {
  std::size_t free = 0, total = 0;
  allfold::cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  if (free < 2 * count + (std::size_t{1} << 30)) {
    MESSAGE("skipped: ", count, " bytes on each of two ranks do not fit ", free, " bytes");
    return;
  }
  test::failures list;
  test::run_world(2, [&](world& world) {
    allfold::cuda::device_buffer<element> data{count};
    const thrust::device_ptr<element> first{data.data()};
    thrust::tabulate(on_device::on(world), first, first + static_cast<std::ptrdiff_t>(count),
                     element_of_rank{world.rank()});
    allfold::all_reduce<Algorithm>(world, data);
    world.synchronize();
    const auto index = thrust::make_counting_iterator<std::size_t>(0);
    const auto wrong =
        thrust::count_if(on_device::on(world), index, index + static_cast<std::ptrdiff_t>(count),
                         is_no_sum{data.data()});
    if (wrong != 0)
      list.add("rank " + std::to_string(world.rank()) + ": " + std::to_string(wrong) + " of " +
               std::to_string(count) + " elements are wrong");
  });
  CHECK_NONE(list);
}

/// An odd number of elements of `size` bytes that make two and a half pieces of `chunks` chunks.
std::size_t count_of(int ranks, int chunks, std::size_t size) {
  const auto n = static_cast<std::size_t>(chunks);
  return (5 * world::piece_bytes(ranks, chunks) * n / 2 / size) | 1u;
}

}  // namespace

TEST_CASE("count_of makes several pieces") {
  const auto check = [](auto plan) {
    for (const int ranks : {2, 3, 8}) {
      const std::size_t bytes = 4 * count_of(ranks, plan.chunks(ranks), 4);
      CHECK(allfold::detail::pieces_of<world>(plan, ranks, bytes) == 3);
    }
  };
  check(allfold::ring{});
  check(allfold::tree{});
  check(allfold::ring::reduce{});
  check(allfold::tree::reduce{});
  check(allfold::ring::broadcast{});
}

TEST_CASE_TEMPLATE("a long all_reduce", algorithm, allfold::direct, allfold::ring, allfold::tree,
                   allfold::halving_doubling, allfold::primary<>) {
  test::failures list;
  test::random_bits random{1};
  const auto floats = test::all_reduce_by<algorithm, float, allfold::sum>();
  const auto halves = test::all_reduce_by<algorithm, allfold::bfloat16, allfold::average>();
  for (const int ranks : {2, 3, 8}) {
    const int chunks = algorithm{}.chunks(ranks);
    carry_out({all_reduce_job(floats, ranks, count_of(ranks, chunks, 4), ranks != 3, random),
               all_reduce_job(halves, ranks, count_of(ranks, chunks, 2), ranks == 3, random)},
              ranks, list);
  }
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("a long reduce", algorithm, allfold::direct, allfold::ring, allfold::tree) {
  test::failures list;
  test::random_bits random{2};
  const auto what = test::reduce_by<algorithm, float, allfold::sum>();
  for (const int ranks : {2, 3, 5})
    carry_out({reduce_job(what, ranks, count_of(ranks, 1, 4), ranks / 2, ranks == 3, random)},
              ranks, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("a long reduce_scatter", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  test::random_bits random{3};
  const auto what = test::reduce_scatter_by<algorithm, float, allfold::sum>();
  for (const int ranks : {2, 5})
    carry_out({reduce_scatter_job(what, ranks, 500'001, ranks == 2, random)}, ranks, list);
  CHECK_NONE(list);
}

TEST_CASE("elements that are moved, many") {
  test::failures list;
  test::random_bits random{4};
  for (const int ranks : {2, 5}) {
    const std::size_t count = count_of(ranks, 1, 4);
    carry_out(
        {broadcast_job(test::broadcast_by<allfold::ring, float>(), ranks, count, 1, true, random),
         broadcast_job(test::broadcast_by<allfold::tree, float>(), ranks, count, 0, false, random),
         all_gather_job(test::all_gather_by<allfold::ring, float>(), ranks, count / 2, {}, true,
                        random),
         all_to_all_job(test::all_to_all_by<allfold::direct, float>(), ranks, count / 4, true,
                        random)},
        ranks, list);
  }
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("an all_reduce of more than 4 GiB", algorithm, allfold::ring, allfold::tree) {
  try_huge<algorithm>((std::size_t{1} << 32) + 1'000'003);
}

TEST_CASE("an all_reduce of more than 8 GiB") { try_huge<allfold::direct>(8'600'000'003); }
