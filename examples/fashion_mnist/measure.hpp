#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fashion_mnist {

inline double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

inline std::uint64_t byte_count(const auto& tensors) {
  std::uint64_t total = 0;
  for (const auto& tensor : tensors) total += std::span{tensor}.size_bytes();
  return total;
}

// FNV-1a, 64 bits, of all bytes in their order: http://www.isthe.com/chongo/tech/comp/fnv/
inline std::uint64_t hash(const auto& tensors) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const auto& tensor : tensors)
    for (const std::byte byte : std::as_bytes(std::span{tensor}))
      hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3u;
  return hash;
}

}  // namespace fashion_mnist
