#include "compression/giving_it_to_a_replica.hpp"

#include "support.hpp"

namespace compression_md::giving_it_to_a_replica {

TEST_CASE("compression.md: ten elements of a thousand are sent, with their places") {
  const std::vector<float> batches(3, 7.0f);
  docs::descend optimizer;
  double share = 0;
  const docs::learner begin{{2000}};
  const auto end = docs::train(
      2,
      [&](auto& world, auto& model) {
        const double its = train(world, model, optimizer, batches);
        if (world.rank() == 0) share = its;
      },
      begin);
  CHECK(share == doctest::Approx(2 * 0.01));
  CHECK(end.all().back() < begin.all().back());  // the farthest from its goal
  CHECK(end.all()[7] == begin.all()[7]);
}

}  // namespace compression_md::giving_it_to_a_replica
