#include "data_parallel/overlap.hpp"

#include "support.hpp"

namespace data_parallel_md::overlap {

TEST_CASE("data_parallel.md: gradients are reduced meanwhile") {
  const auto end = docs::train(2, [](auto& world, auto& model) {
    auto replica = overlapping_replica(model, world);
    if (!replica.overlaps()) throw std::logic_error{"it does not overlap"};
    replica.backward(
        [&](auto&& ready) { model.backward(static_cast<float>(2 * world.rank()), ready); });
    replica.step(docs::descend{});
  });
  docs::check_drawn(end, 1, 1);
}

}  // namespace data_parallel_md::overlap
