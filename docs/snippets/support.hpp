// What the tests of the documentation's code have in common: a model that any of its loops trains,
// and what becomes of it.
#pragma once

#include <doctest/doctest.h>
#include <allfold/allfold.hpp>

#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace docs {

/// Parameters that are drawn to a goal: the gradient of each is how far it is from there.
struct learner {
  std::vector<std::vector<float>> values, slopes;

  learner() : learner{{4, 3}} {}
  explicit learner(const std::vector<std::size_t>& sizes) {
    float next = 1;
    for (const std::size_t size : sizes) {
      values.emplace_back(size);
      std::iota(values.back().begin(), values.back().end(), next);
      slopes.emplace_back(size);
      next += static_cast<float>(size);
    }
  }
  std::vector<std::span<float>> parameters() { return {values.begin(), values.end()}; }
  std::vector<std::span<float>> gradients() { return {slopes.begin(), slopes.end()}; }

  void backward(float goal, auto&& ready) {
    for (std::size_t i = values.size(); i-- > 0;) {
      for (std::size_t k = 0; k < values[i].size(); ++k) slopes[i][k] = values[i][k] - goal;
      ready(i);
    }
  }
  /// The goal is the mean of these elements of `data`.
  void backward(const std::vector<float>& data, std::span<const std::size_t> batch, auto&& ready) {
    float sum = 0;
    for (const std::size_t each : batch) sum += data[each];
    backward(sum / static_cast<float>(batch.size()), ready);
  }

  std::vector<float> all() const {
    std::vector<float> its;
    for (const auto& each : values) its.insert(its.end(), each.begin(), each.end());
    return its;
  }
};

/// An optimizer: halves the way to the goal.
struct descend {
  void operator()(std::span<float> values, std::span<const float> gradient) const {
    for (std::size_t k = 0; k < values.size(); ++k) values[k] -= 0.5f * gradient[k];
  }
};

/// 0, 1, 2, …: the mean of 128 of them is 63.5.
inline std::vector<float> numbers(std::size_t count) {
  std::vector<float> all(count);
  std::iota(all.begin(), all.end(), 0.0f);
  return all;
}

/// Runs body(world, model) on ranks that each have a model, only rank 0's of which begins as it is
/// made, and returns what they come to: the same bits on all ranks.
template <class Model = learner, class Body>
Model train(int ranks, Body body, const Model& begin = Model{}) {
  std::vector<Model> models(static_cast<std::size_t>(ranks), begin);
  allfold::spawn(ranks, [&](auto& its) {
    Model& own = models[static_cast<std::size_t>(its.rank())];
    if (its.rank() != 0)
      for (const auto parameter : own.parameters())
        for (float& each : parameter) each = -100;
    body(its, own);
  });
  for (const Model& each : models) CHECK(each.all() == models[0].all());
  return models[0];
}

/// Checks that a model has taken so many steps to a goal.
inline void check_drawn(const learner& its, float goal, int steps) {
  float begin = 1;
  for (const float each : its.all()) {
    CHECK(each == doctest::Approx(goal + (begin - goal) * std::pow(0.5f, steps)));
    ++begin;
  }
}

}  // namespace docs
