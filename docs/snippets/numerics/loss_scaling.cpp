#include "numerics/loss_scaling.hpp"

#include "scaled.hpp"

namespace numerics_md::loss_scaling {

TEST_CASE("numerics.md: a step whose gradients overflowed is left out") {
  docs::check_scaled([](auto&... arguments) { train_step(arguments...); });
}

}  // namespace numerics_md::loss_scaling
