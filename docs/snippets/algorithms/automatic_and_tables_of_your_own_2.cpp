#include "algorithms/automatic_and_tables_of_your_own_2.hpp"

#include <doctest/doctest.h>

namespace algorithms_md::automatic_and_tables_of_your_own_2 {

TEST_CASE("algorithms.md: what a schedule will cost") {
  const double small = seconds<allfold::direct>(64, 1 << 10);
  const double large = seconds<allfold::direct>(64, 1 << 20);
  CHECK(small > network.latency);
  CHECK(large > small);
  CHECK(seconds<allfold::ring>(64, 1 << 20) > large);
}

}  // namespace algorithms_md::automatic_and_tables_of_your_own_2
