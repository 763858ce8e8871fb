// Element types and operations in the folding collectives on a GPU; algorithms take turns.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

using allfold::direct;
using allfold::ring;
using allfold::tree;
using test::job;

/// What is folded, by what.
template <class Algorithm, class T, class Operation>
struct fold_of {
  using algorithm = Algorithm;
  using element = T;
  using operation = Operation;
};

/// Several counts on several numbers of ranks, in place and not: what differs between types is how
/// many fit a word, a packet or a cache line.
template <class Fold>
void try_fold(test::failures& list) {
  const auto what = test::all_reduce_by<typename Fold::algorithm, typename Fold::element,
                                        typename Fold::operation>();
  test::random_bits random{what.kind->size + what.operation.size()};
  for (const int ranks : {1, 2, 3, 5, 8}) {
    if (ranks < what.least_ranks) continue;
    std::vector<job> jobs;
    for (const std::size_t bytes : {1u, 100u, 5'000u, 16'384u, 17'000u, 300'001u})
      for (const bool in_place : {false, true})
        jobs.push_back(all_reduce_job(what, ranks, 1 + bytes / what.kind->size, in_place, random));
    carry_out(jobs, ranks, list);
  }
}

template <class... Folds>
void try_folds() {
  test::failures list;
  (try_fold<Folds>(list), ...);
  CHECK_NONE(list);
}

}  // namespace

TEST_CASE("folds of short integers") {
  using namespace allfold;
  try_folds<fold_of<direct, bool, sum>, fold_of<ring, signed char, average>,
            fold_of<direct, unsigned char, maximum>, fold_of<tree, short, product>,
            fold_of<direct, unsigned short, average>>();
}

TEST_CASE("folds of long integers") {
  using namespace allfold;
  try_folds<fold_of<direct, int, product>, fold_of<halving_doubling, unsigned, sum>,
            fold_of<primary<1>, long long, minimum>,
            fold_of<direct, unsigned long long, average>>();
}

TEST_CASE("folds of floating-point numbers") {
  using namespace allfold;
  try_folds<fold_of<direct, float, average>, fold_of<direct, float, minimum>,
            fold_of<tree, float, product>, fold_of<direct, double, sum>,
            fold_of<ring, double, maximum>, fold_of<primary<>, double, average>>();
}

TEST_CASE("folds of 16-bit floating-point numbers") {
  using namespace allfold;
  try_folds<fold_of<direct, allfold::half, sum>, fold_of<ring, allfold::half, average>,
            fold_of<direct, bfloat16, product>, fold_of<tree, bfloat16, maximum>,
            fold_of<direct, __half, average>, fold_of<direct, __nv_bfloat16, sum>,
            fold_of<halving_doubling, __nv_bfloat16, minimum>>();
}

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
