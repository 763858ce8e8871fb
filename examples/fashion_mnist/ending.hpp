#pragma once

#include "dataset.hpp"
#include "measure.hpp"
#include "mlp.hpp"

#include <allfold/allfold.hpp>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

// What ranks of any kind say of a training in the end. Every rank calls these.
namespace fashion_mnist {

// The share of the test images that the model gets right; every rank looks at some of them.
double accuracy(auto& world, mlp& model, const dataset& test) {
  const auto rank = static_cast<std::size_t>(world.rank());
  const auto size = static_cast<std::size_t>(world.size());
  std::vector<std::size_t> mine(test.size() * (rank + 1) / size - test.size() * rank / size);
  std::iota(mine.begin(), mine.end(), test.size() * rank / size);
  batch images;
  test.gather(mine, images);
  std::vector<std::uint64_t> correct{model.count_correct(images)};
  allfold::all_reduce(world, correct);
  return static_cast<double>(correct[0]) / static_cast<double>(test.size());
}

// Of every rank's parameters, by rank.
std::vector<std::uint64_t> hashes(auto& world, mlp& model) {
  const std::vector<std::uint64_t> own{hash(model.parameters())};
  std::vector<std::uint64_t> all(static_cast<std::size_t>(world.size()));
  allfold::all_gather(world, own, all);
  return all;
}

}  // namespace fashion_mnist
