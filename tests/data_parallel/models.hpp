// Models for the tests, and what they are compared with.
#pragma once

#include <allfold/allfold.hpp>
#include <cstddef>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace models {

/// Arrays of parameters and of gradients, of given sizes, and a buffer.
template <class T>
struct arrays {
  std::vector<std::vector<T>> values, slopes;
  std::vector<double> statistics = std::vector<double>(3);

  explicit arrays(const std::vector<std::size_t>& sizes) {
    for (const std::size_t size : sizes) {
      values.emplace_back(size);
      slopes.emplace_back(size);
    }
  }
  std::vector<std::span<T>> parameters() { return {values.begin(), values.end()}; }
  std::vector<std::span<T>> gradients() { return {slopes.begin(), slopes.end()}; }
  std::array<std::span<double>, 1> buffers() { return {statistics}; }
  std::vector<std::string> names() {
    std::vector<std::string> all;
    for (std::size_t i = 0; i < values.size(); ++i)
      all.push_back("layer" + std::to_string(i) + ".weight");
    return all;
  }
  void fill(T value, T slope) {
    for (auto& each : values) each.assign(each.size(), value);
    for (auto& each : slopes) each.assign(each.size(), slope);
  }
};

/// Numbers whose sum depends on the order, the same for the same seed.
template <class T>
std::vector<T> noise(std::size_t count, unsigned seed) {
  std::mt19937 random{seed};
  std::normal_distribution<float> normal;
  std::vector<T> all(count);
  for (T& each : all) each = static_cast<T>(normal(random));
  return all;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace models
