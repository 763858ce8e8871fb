#include "numerics/batch_normalisation_over_all_ranks.hpp"

#include <doctest/doctest.h>

namespace numerics_md::batch_normalisation_over_all_ranks {

TEST_CASE("numerics.md: running statistics are those of all ranks' batches") {
  std::vector<std::vector<float>> means(2), variances(2);
  allfold::spawn(2, [&](auto& world) {
    const auto rank = static_cast<std::size_t>(world.rank());
    means[rank].assign(3, 0);
    variances[rank].assign(3, 0);
    const std::vector<float> x(2 * 3 * 4, static_cast<float>(rank));
    batch_norm(world, x, x, {.samples = 2, .channels = 3, .length = 4}, means[rank],
               variances[rank]);
  });
  for (const auto& each : means) CHECK(each[2] == doctest::Approx(0.1 * 0.5));
  for (const auto& each : variances) CHECK(each[2] == doctest::Approx(0.1 * 0.25 * 16 / 15));
  on_two_ranks();
}

}  // namespace numerics_md::batch_normalisation_over_all_ranks
