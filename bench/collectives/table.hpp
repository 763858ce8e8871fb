// The table, in the format of nccl-tests: what reads theirs reads this.
#pragma once

#include "machine.hpp"
#include "settings.hpp"

#include <cstdio>
#include <span>

namespace bench {

/// Everything up to the first row of a collective by an algorithm.
void print_head(std::FILE* to, const settings& chosen, const machine& here,
                allfold::collective what, const std::string& algorithm);
void print_row(std::FILE* to, const settings& chosen, const row& it);
/// What follows the last row.
void print_foot(std::FILE* to, std::span<const row> rows);

/// A number that fits into `width` characters, with as many digits behind the point as fit, `most`
/// at most.
std::string fitted(double value, int width, int most);

/// The mean of both halves' bus bandwidth over all rows.
double average_bus_bandwidth(std::span<const row> rows);

}  // namespace bench
