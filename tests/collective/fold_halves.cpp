// 16-bit floats: every folding collective against a serial fold, bit for bit.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

using elements = test::half_types;

}  // namespace

TEST_CASE_TEMPLATE("all_reduce of 16-bit floats", algorithm, allfold::direct, allfold::ring,
                   allfold::tree, allfold::halving_doubling, allfold::primary<0>,
                   allfold::primary<1>) {
  test::failures list;
  test::try_all_reduce_of<algorithm, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce of 16-bit floats", algorithm, allfold::direct, allfold::ring,
                   allfold::tree, allfold::primary<>) {
  test::failures list;
  test::try_reduce_of<algorithm, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce_scatter of 16-bit floats", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  test::try_reduce_scatter_of<algorithm, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE("which 16-bit floats there are") {
  if (!TEST_HAS_FLOAT16) MESSAGE("not tested: _Float16, which this compiler lacks");
  if (!TEST_HAS_BF16) MESSAGE("not tested: __bf16, which this compiler lacks or can't convert");
  if (!TEST_HAS_CUDA_TYPES)
    MESSAGE("not tested: __half and __nv_bfloat16, since no cuda_fp16.h is in the include path");
  test::for_each(test::half_types{}, [](auto element) {
    using T = typename decltype(element)::of;
    static_assert(std::is_same_v<allfold::accumulator<T>, float>);
  });
}
