#include "concepts/ranks_and_communicators.hpp"

#include <doctest/doctest.h>

namespace concepts_md::ranks_and_communicators {

TEST_CASE("concepts.md: four ranks") { run_ranks(); }

}  // namespace concepts_md::ranks_and_communicators
