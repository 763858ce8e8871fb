#pragma once

#include "machine.hpp"
#include "settings.hpp"

#include <span>

namespace bench {

/// Everything that the table shows, in full, and where and how it was measured. Throws
/// std::runtime_error if the file cannot be written.
void write_json(const settings& chosen, const machine& here, std::span<const row> rows);

}  // namespace bench
