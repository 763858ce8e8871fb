#pragma once

#include "outcome.hpp"

#include <optional>
#include <span>

namespace fashion_mnist {

// These two fold in the order of the ranks: their parameters must end as the same bits.
inline constexpr const char* primary_name = "primary_device<0>";
inline constexpr const char* direct_name = "distributed<direct>";

// By how many points of test accuracy a run is above distributed<direct>; nothing where that was
// not run. Within one point they count as equal.
std::optional<double> points_above_direct(const outcome& run, std::span<const outcome> outcomes);
inline bool within_one_point(double points) { return -1.0 <= points && points <= 1.0; }

void print_table(std::span<const outcome> outcomes);

// What test accuracies must be.
struct demands {
  double at_least = 0;  // in per cent
  double within = 100;  // of distributed<direct>, where gradients are compressed, in points
};

// One line each on what the table shows. False where bits differ that must be the same, or where a
// test accuracy is not what is asked for.
bool print_findings(std::span<const outcome> outcomes, const demands& asked);

}  // namespace fashion_mnist
