#pragma once

#include <Eigen/Core>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fashion_mnist {

// Gradient descent with momentum. The velocity of a parameter comes into being at its first step:
// a rank that never steps keeps none, which is what the memory column of the table shows.
class momentum_descent {
 public:
  float rate;

  momentum_descent(float rate, float momentum, std::size_t parameters)
      : rate{rate}, momentum{momentum}, velocities(parameters) {}

  // For parameter i of the model: allfold passes the number to an optimizer that takes one.
  void operator()(std::size_t i, std::span<float> parameter, std::span<const float> gradient);

  std::uint64_t bytes() const;

  // What ranks must hold alike that go on without others; see allfold::data_parallel::continue_on.
  template <class Share>
  void share_state(Share&& share) {
    share(velocities);
  }

 private:
  float momentum;
  std::vector<Eigen::ArrayXf> velocities;
};

}  // namespace fashion_mnist
