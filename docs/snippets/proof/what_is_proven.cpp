#include "proof/what_is_proven.hpp"

#include <doctest/doctest.h>

namespace proof_md::what_is_proven {

TEST_CASE("proof.md: what is proven, at run time too") {
  using namespace allfold;
  CHECK(prove<tree>(6, 4).sound());
  CHECK(prove(ring::reduce{.root = 2}, 6).race_free);
}

}  // namespace proof_md::what_is_proven
