#include "optimizer.hpp"

namespace fashion_mnist {

void momentum_descent::operator()(std::size_t i, std::span<float> parameter,
                                  std::span<const float> gradient) {
  const auto count = static_cast<Eigen::Index>(parameter.size());
  Eigen::ArrayXf& velocity = velocities[i];
  if (velocity.size() == 0) velocity.setZero(count);
  velocity = momentum * velocity + Eigen::ArrayXf::Map(gradient.data(), count);
  Eigen::ArrayXf::Map(parameter.data(), count) -= rate * velocity;
}

std::uint64_t momentum_descent::bytes() const {
  std::uint64_t total = 0;
  for (const auto& velocity : velocities)
    total += sizeof(float) * static_cast<std::uint64_t>(velocity.size());
  return total;
}

}  // namespace fashion_mnist
