// A user's element types and operations in all_reduce on a GPU; algorithms take turns.
#include <doctest/doctest.h>

#include "cuda/fold_lists.cuh"

using namespace fold_lists;

TEST_CASE("folds of a user's types") {
  using namespace allfold;
  try_folds<fold_of<direct, test::pack1, sum>, fold_of<direct, test::pack3, maximum>,
            fold_of<ring, test::pack3, sum>, fold_of<direct, test::pack12, average>,
            fold_of<tree, test::pack24, sum>, fold_of<direct, test::pack72, product>,
            fold_of<direct, test::aligned32, sum>, fold_of<primary<>, test::aligned32, average>>();
}

TEST_CASE("a user's operations, which tell the order of a fold") {
  try_folds<fold_of<direct, float, test::twice_and>,
            fold_of<allfold::primary<1>, int, test::twice_and>,
            fold_of<direct, allfold::bfloat16, test::twice_and>>();
}

TEST_CASE("a user's operation that ends with something of its own") {
  test::failures list;
  test::random_bits random{1};
  const auto what = test::all_reduce_by<direct, float, test::sum_doubled>();
  for (const int ranks : {2, 4, 7}) {
    std::vector<job> jobs;
    for (const std::size_t count : {1u, 1'000u, 30'000u})
      jobs.push_back(all_reduce_job(what, ranks, count, count == 1'000u, random));
    carry_out(jobs, ranks, list);
  }
  CHECK_NONE(list);
}
