// What a step with loss scaling and clipping must do.
#pragma once

#include <allfold/data_parallel/gradient_scaler.hpp>
#include <limits>

#include "support.hpp"

namespace docs {

/// Its gradients are the scaled loss times 3 and 4.
struct scaled_model : learner {
  float own_loss = 1;

  scaled_model() : learner{{2}} {}
  float loss() const { return own_loss; }
  void backward(float scaled, auto&& ready) {
    slopes[0] = {3 * scaled, 4 * scaled};
    ready(std::size_t{0});
  }
};

/// Calls step(world, replica, model, optimizer, scaler) twice: the norm of 5 is clipped to 1; then
/// one rank's gradients are infinite, so that all leave out the step and halve the scale.
template <class Step>
void check_scaled(Step step) {
  const auto end = train<scaled_model>(2, [&](auto& world, auto& model) {
    allfold::data_parallel<scaled_model, allfold::distributed<>> replica{model, world};
    allfold::gradient_scaler scaler{world};
    descend optimizer;
    step(world, replica, model, optimizer, scaler);
    if (replica.steps() != 1 || scaler.scale() != 65536) throw std::logic_error{"the first step"};
    if (world.rank() == 1) model.own_loss = std::numeric_limits<float>::infinity();
    step(world, replica, model, optimizer, scaler);
    if (replica.steps() != 1 || scaler.scale() != 32768) throw std::logic_error{"the second step"};
  });
  CHECK(end.all()[0] == doctest::Approx(1 - 0.5 * 0.6));
  CHECK(end.all()[1] == doctest::Approx(2 - 0.5 * 0.8));
}

}  // namespace docs
