// A little of everything: what a memory checker can get through in a minute.
#include <allfold/schedule/dissemination.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "cuda/on_device.cuh"
#include "support/folding.hpp"
#include "support/moving.hpp"

namespace {

using test::job;
using test::world;

/// One element, what fits a slot, what needs one block, what needs several.
constexpr std::size_t counts[] = {1, 1'000, 5'001, 30'003};

template <class... Algorithms>
void add_all_reduces(std::vector<job>& jobs, int ranks, test::random_bits& random) {
  const auto add = [&](const test::folding& what) {
    for (const std::size_t count : counts)
      if (ranks >= what.least_ranks)
        jobs.push_back(all_reduce_job(what, ranks, count, count % 2 == 0, random));
  };
  (add(test::all_reduce_by<Algorithms, float, allfold::sum>()), ...);
}
template <class... Algorithms>
void add_reduces(std::vector<job>& jobs, int ranks, test::random_bits& random) {
  (jobs.push_back(reduce_job(test::reduce_by<Algorithms, float, allfold::sum>(), ranks, 20'001,
                             ranks - 1, false, random)),
   ...);
}
template <class... Algorithms>
void add_moves(std::vector<job>& jobs, int ranks, test::random_bits& random) {
  (jobs.push_back(broadcast_job(test::broadcast_by<Algorithms, float>(), ranks, 20'001, ranks / 2,
                                true, random)),
   ...);
}

}  // namespace

TEST_CASE("small: every collective") {
  test::failures list;
  test::random_bits random{1};
  for (const int ranks : {1, 2, 4}) {
    std::vector<job> jobs;
    add_all_reduces<allfold::direct, allfold::ring, allfold::tree, allfold::halving_doubling,
                    allfold::primary<>>(jobs, ranks, random);
    add_reduces<allfold::direct, allfold::ring, allfold::tree>(jobs, ranks, random);
    add_moves<allfold::direct, allfold::ring, allfold::tree>(jobs, ranks, random);
    const auto pack = test::all_gather_by<allfold::ring, test::pack3>();
    const auto to_all = test::all_to_all_by<allfold::direct, test::pack12>();
    const auto scattered =
        test::reduce_scatter_by<allfold::ring, allfold::bfloat16, allfold::sum>();
    for (const bool in_place : {false, true}) {
      jobs.push_back(all_gather_job(pack, ranks, 2'001, {}, in_place, random));
      jobs.push_back(all_to_all_job(to_all, ranks, 501, in_place, random));
      jobs.push_back(reduce_scatter_job(scattered, ranks, 5'001, in_place, random));
      jobs.push_back(scatter_job(test::scatter_by<allfold::direct, float>(), ranks, 3'001, {}, 0,
                                 in_place, random));
      jobs.push_back(gather_job(test::gather_by<allfold::direct, float>(), ranks, 3'001, {},
                                ranks - 1, in_place, random));
    }
    carry_out(jobs, ranks, list);
  }
  CHECK_NONE(list);
}

TEST_CASE("small: barriers, graphs, and calls in flight") {
  test::failures list;
  test::run_world(3, [&](world& world) {
    on_device::tally it{world, 6'001};
    it.give<allfold::ring>(world);
    auto recorded = allfold::cuda::capture(world, [&] {
      it.give<allfold::direct>(world);
      it.give<allfold::tree>(world);
    });
    for (int replay = 0; replay < 5; ++replay) {
      recorded.launch(world);
      allfold::barrier(world);
      it.give<allfold::halving_doubling>(world);
      allfold::barrier<allfold::dissemination>(world);
    }
    it.check(world, 16, "graphs and calls in turn", list);
  });
  CHECK_NONE(list);
}
