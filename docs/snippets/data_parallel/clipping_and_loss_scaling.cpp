#include "data_parallel/clipping_and_loss_scaling.hpp"

#include "scaled.hpp"

namespace data_parallel_md::clipping_and_loss_scaling {

TEST_CASE("data_parallel.md: a scaled loss, and clipped gradients") {
  docs::check_scaled([](auto&... arguments) { train_step(arguments...); });
}

}  // namespace data_parallel_md::clipping_and_loss_scaling
