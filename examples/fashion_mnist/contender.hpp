#pragma once

#include "outcome.hpp"
#include "progress.hpp"
#include "training.hpp"

#include <allfold/allfold.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace fashion_mnist {

// A configuration that trains an epoch at a time. So several can take turns, and what else the
// machine does in a while is not to the disadvantage of the one whose turn it is for long.
class contender {
 public:
  virtual ~contender() = default;
  virtual const epoch_figures& epoch(progress_bar& progress) = 0;
  virtual outcome finish() = 0;
};

template <class Strategy>
class contender_with final : public contender {
 public:
  contender_with(std::string name, int ranks, const task& given) {
    result.name = std::move(name);
    for (int rank = 0; rank < ranks; ++rank)
      participants.push_back(std::make_unique<participant>(given));
  }

  const epoch_figures& epoch(progress_bar& progress) override {
    epoch_figures figures{};
    const auto ranks = static_cast<int>(participants.size());
    const auto cores = static_cast<int>(std::thread::hardware_concurrency());
    allfold::spawn(ranks,
                   [&](auto& world) {
                     auto& own = *participants[static_cast<std::size_t>(world.rank())];
                     const auto mine =
                         own.template epoch<Strategy>(world, result.epochs.size(), progress);
                     if (world.rank() == 0) figures = mine;
                   },
                   {.pin = ranks <= cores});
    return result.epochs.emplace_back(figures);
  }

  outcome finish() override {
    const participant& primary = *participants[0];
    result.steps = primary.losses.size();
    result.step_ms = primary.median_step_ms();
    result.losses = primary.losses;
    result.seconds = primary.seconds;
    for (const auto& each : participants) result.ranks.push_back(each->figures());
    return std::move(result);
  }

 private:
  std::vector<std::unique_ptr<participant>> participants;  // by rank
  outcome result;
};

}  // namespace fashion_mnist
