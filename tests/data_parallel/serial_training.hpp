// The trainings of training.hpp in one process without a replica: what all ranks must come to, bit
// for bit.
#pragma once

#include "serial_compression.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

namespace training {

class serial_training {
 public:
  serial_training(const rules& how, int ranks, const task& what)
      : how_{how},
        what_{what},
        combine_{combining_of(how, what)},
        used_(at(ranks), std::vector<char>(what.sizes.size())),
        seen_(at(ranks)) {
    for (int rank = 0; rank < ranks; ++rank) {
      all_.emplace_back(what, rank);
      all_.back().model.values = all_[0].model.values;
    }
  }

  std::vector<record> run() {
    int last = 0;
    for (int step = 0; step < 5; ++step) {
      last = first_live(step).value_or(last);
      if (first_live(step)) take(step);
    }
    for (std::size_t rank = 0; rank < all_.size(); ++rank) {
      if (!what_.shadows_step) all_[rank].model.values = all_[at(last)].model.values;
      record::note(seen_[rank].parameters, all_[rank].model.values);
    }
    return seen_;
  }

 private:
  bool lives(std::size_t rank, int step) const { return step < all_[rank].steps(); }
  std::optional<int> first_live(int step) const {
    for (std::size_t rank = 0; rank < all_.size(); ++rank)
      if (lives(rank, step)) return static_cast<int>(rank);
    return {};
  }
  bool steps(std::size_t rank, int step) const {
    return (how_.root < 0 || rank == at(how_.root)) && (what_.shadows_step || lives(rank, step));
  }

  void take(int step) {
    for (std::size_t rank = 0; rank < all_.size(); ++rank) {
      all_[rank].begin_step();
      for (int pass = 0; lives(rank, step) && pass < what_.passes; ++pass)
        all_[rank].backward(step, pass, [&](std::size_t i) { used_[rank][i] = true; });
    }
    const bool local = how_.every > 0 && step >= how_.from;
    for (std::size_t i = 0; i < what_.sizes.size(); ++i) local ? clear(i) : reduce(i, step);
    for (auto& each : used_) each.assign(each.size(), false);
    for (std::size_t rank = 0; rank < all_.size(); ++rank)
      if (steps(rank, step)) {
        const double norm = clip(all_[rank].model);
        if (lives(rank, step)) seen_[rank].norms.push_back(norm);
        if (lives(rank, step)) record::note(seen_[rank].gradients, all_[rank].model.slopes);
        all_[rank].descend();
      }
    if (local && (step + 1 - how_.from) % how_.every == 0) average_parameters();
    for (std::size_t rank = 0; rank < all_.size(); ++rank) {
      if (how_.root >= 0) all_[rank].model.values = all_[at(how_.root)].model.values;
      if (lives(rank, step)) record::note(seen_[rank].parameters, all_[rank].model.values);
    }
  }

  /// A rank that steps by its own gradients keeps what it has not used, or sets it to zero.
  void clear(std::size_t i) {
    for (std::size_t rank = 0; rank < all_.size(); ++rank)
      if (!used_[rank][i] && what_.options.unused == allfold::unused::zero)
        std::ranges::fill(all_[rank].model.slopes[i], 0.0f);
  }
  void reduce(std::size_t i, int step) {
    const auto uses = [&](const std::vector<char>& its) { return its[i] != 0; };
    if (what_.options.unused == allfold::unused::keep && std::ranges::none_of(used_, uses)) return;
    if (what_.sizes[i] == 0) return;
    by_rank<float> own;
    for (std::size_t rank = 0; rank < all_.size(); ++rank) {
      own.push_back(used_[rank][i] ? all_[rank].model.slopes[i]
                                   : std::vector<float>(what_.sizes[i]));
      if (const auto factor = weight(rank, step))
        for (float& each : own[rank]) each *= static_cast<float>(*factor);
    }
    const bool averages = what_.options.scale == allfold::scale::mean_over_ranks;
    const std::vector<float> result = combine_(i, std::move(own), averages);
    for (std::size_t rank = 0; rank < all_.size(); ++rank)
      if (how_.root < 0 || rank == at(how_.root)) all_[rank].model.slopes[i] = result;
  }
  /// By what a rank's gradients are multiplied before they are folded.
  std::optional<double> weight(std::size_t own, int step) const {
    double live = 0, samples = 0;
    for (std::size_t rank = 0; rank < all_.size(); ++rank)
      if (lives(rank, step)) {
        live += 1;
        samples += static_cast<double>(all_[rank].samples(step));
      }
    if (what_.options.scale == allfold::scale::mean_over_samples)
      return lives(own, step) ? static_cast<double>(all_[own].samples(step)) / samples : 0.0;
    const bool by_live = what_.uneven && what_.join.divide_by == allfold::divide_by::live_ranks;
    if (by_live && what_.options.scale == allfold::scale::mean_over_ranks)
      return static_cast<double>(all_.size()) / live;
    return {};
  }
  double clip(arrays& model) const {
    double squares = 0;
    for (const auto& each : model.slopes)
      for (const float slope : each) squares += static_cast<double>(slope) * slope;
    const double norm = std::sqrt(squares), factor = what_.largest_norm / (norm + 1e-6);
    if (factor < 1)
      for (auto& each : model.slopes)
        for (float& slope : each) slope *= static_cast<float>(factor);
    return norm;
  }
  void average_parameters() {
    for (std::size_t i = 0; i < what_.sizes.size(); ++i) {
      if (what_.sizes[i] == 0) continue;
      by_rank<float> own;
      for (const engine& each : all_) own.push_back(each.model.values[i]);
      const std::vector<float> mean = how_.fold.single(own, true);
      for (engine& each : all_) each.model.values[i] = mean;
    }
  }

  const rules& how_;
  const task& what_;
  combining combine_;
  std::vector<engine> all_;
  by_rank<char> used_;
  std::vector<record> seen_;
};

}  // namespace training
