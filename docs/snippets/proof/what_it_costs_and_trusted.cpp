#include "proof/what_it_costs_and_trusted.hpp"

#include <doctest/doctest.h>

namespace proof_md::what_it_costs_and_trusted {

TEST_CASE("proof.md: a schedule that is trusted is taken without a proof") {
  std::vector<float> sums(2);
  allfold::spawn(2, [&](auto& world) {
    std::vector<float> data(5, static_cast<float>(world.rank() + 1));
    allfold::all_reduce<my_schedule>(world, data);
    sums[static_cast<std::size_t>(world.rank())] = data[4];
  });
  for (const float each : sums) CHECK(each == 3);
}

}  // namespace proof_md::what_it_costs_and_trusted
