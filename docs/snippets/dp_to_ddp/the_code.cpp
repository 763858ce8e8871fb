#include "dp_to_ddp/the_code.hpp"

#include "support.hpp"

namespace dp_to_ddp_md::the_code {

TEST_CASE("dp_to_ddp.md: one template argument") {
  docs::descend optimizer;
  const auto by = [&]<class Strategy>() {
    const auto end = docs::train(2, [&](auto& world, auto& model) {
      const std::vector<float> batches(3, static_cast<float>(2 * world.rank()));
      train<Strategy>(world, model, optimizer, batches);
    });
    docs::check_drawn(end, 1, 3);
  };
  by.operator()<dp>();
  by.operator()<ddp>();
}

}  // namespace dp_to_ddp_md::the_code
