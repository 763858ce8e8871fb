#pragma once

#include "machine.hpp"
#include "outcome.hpp"
#include "settings.hpp"

#include <filesystem>
#include <span>

namespace fashion_mnist {

// Everything the table shows, the curves behind it, and where and how it was measured.
// Throws std::runtime_error when the file cannot be written.
void write_json(const std::filesystem::path& path, const machine& here, const settings& chosen,
                std::span<const outcome> outcomes);

}  // namespace fashion_mnist
