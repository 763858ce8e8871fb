#pragma once

#include "machine.hpp"
#include "settings.hpp"

#include <span>

namespace bench {

/// Draws time and bus bandwidth over size into a PNG, a row of pictures for each collective, by a
/// gnuplot script that stays beside it. Prints a line and returns where gnuplot is missing. Throws
/// std::runtime_error if the script cannot be written, or gnuplot fails.
void write_plot(const settings& chosen, const machine& here, std::span<const row> rows);

}  // namespace bench
