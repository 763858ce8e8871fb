#pragma once

#include "outcome.hpp"

#include <span>

namespace fashion_mnist {

// These two fold in the order of the ranks: their parameters must end as the same bits.
inline constexpr const char* primary_name = "primary_device<0>";
inline constexpr const char* direct_name = "distributed<direct>";

void print_table(std::span<const outcome> outcomes);

// One line each on what the table shows. False where bits differ that must be the same.
bool print_findings(std::span<const outcome> outcomes);

}  // namespace fashion_mnist
