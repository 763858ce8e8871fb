#pragma once

#include "outcome.hpp"

#include <filesystem>
#include <span>

namespace fashion_mnist {

// Draws loss curves, step times and each rank's traffic into a PNG, by a gnuplot script that stays
// beside it. Prints a line and returns where gnuplot is missing.
// Throws std::runtime_error when the script cannot be written or gnuplot fails.
void write_plot(const std::filesystem::path& picture, std::span<const outcome> outcomes);

}  // namespace fashion_mnist
