// Gradients of several types for the tests, and how far a result may be from the exact one.
#pragma once

#include <allfold/half.hpp>
#include <allfold/reduction.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

namespace numerics {

template <class T>
double wide(T value) {
  return static_cast<double>(static_cast<allfold::accumulator<T>>(value));
}
template <class T>
T narrow(double value) {
  return static_cast<T>(static_cast<allfold::accumulator<T>>(value));
}
template <class T>
std::vector<T> narrow(const std::vector<double>& values) {
  std::vector<T> all;
  for (const double each : values) all.push_back(narrow<T>(each));
  return all;
}

/// The distance between 1 and the next larger number.
template <class T>
inline constexpr double precision = std::is_same_v<T, allfold::half>       ? 0x1p-10
                                    : std::is_same_v<T, allfold::bfloat16> ? 0x1p-7
                                    : std::is_same_v<T, float>             ? 0x1p-23
                                                                           : 0x1p-52;

/// Both NaN, or both the same infinity, or apart by no more than `tolerance` of their size.
inline bool close(double a, double b, double tolerance) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b || std::abs(a - b) <= tolerance * std::abs(b);
}

/// Some gradients one behind the other, cut into arrays of these sizes.
template <class T>
std::vector<std::vector<T>> cut(const std::vector<T>& flat, const std::vector<std::size_t>& sizes) {
  std::vector<std::vector<T>> all;
  auto from = flat.begin();
  for (const std::size_t size : sizes) {
    all.emplace_back(from, from + static_cast<std::ptrdiff_t>(size));
    from += static_cast<std::ptrdiff_t>(size);
  }
  return all;
}

/// Where rank `rank`'s part of `count` elements begins: uneven parts, rank 1's always empty.
inline std::size_t part_begin(std::size_t count, int rank, int ranks) {
  if (rank == 0) return 0;
  if (rank >= ranks) return count;
  const auto share = static_cast<std::size_t>(rank == 1 ? 1 : rank - 1);
  return share * count / static_cast<std::size_t>(ranks > 1 ? ranks - 1 : 1);
}

}  // namespace numerics
