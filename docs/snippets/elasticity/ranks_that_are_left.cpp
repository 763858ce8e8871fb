#include "elasticity/ranks_that_are_left.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <stdexcept>

namespace elasticity_md::ranks_that_are_left {

TEST_CASE("elasticity.md: the ranks that are left sum again") {
  const auto endings = allfold::try_spawn_processes(3, [](allfold::processes::communicator& world) {
    const std::vector<float> mine{static_cast<float>(1 << world.rank())};
    const bool leaves = world.rank() == 1;
    if (sum_again(world, mine)[0] != 1 + 2 + 4) throw std::logic_error{"the sum of three"};
    if (leaves) _exit(3);
    if (sum_again(world, mine)[0] != 1 + 4) throw std::logic_error{"the sum of two"};
  });
  CHECK(endings[0].thrown == "");
  CHECK(endings[2].thrown == "");
  CHECK(endings[0].good());
  CHECK(endings[1].status == 3);
  CHECK(endings[2].good());
}

}  // namespace elasticity_md::ranks_that_are_left
