// Element types and operations in all_reduce on a GPU; algorithms take turns.
#include <doctest/doctest.h>

#include "cuda/fold_lists.cuh"

using namespace fold_lists;

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
