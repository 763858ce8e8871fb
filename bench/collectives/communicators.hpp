// The kinds of ranks that can be measured.
#pragma once

#include "settings.hpp"

#include <functional>
#include <string_view>
#include <vector>

namespace bench {

/// What happens to a row that has been measured. Called by one rank at a time.
using row_handler = std::function<void(const row&)>;

struct communicator_kind {
  std::string_view name;
  /// Starts the ranks and measures every size of every series; null if it is not built in.
  void (*run)(const settings& chosen, const std::vector<series>& all, const row_handler& handle);
};

/// Ranks as threads of this process.
void run_threads(const settings& chosen, const std::vector<series>& all, const row_handler& handle);

/// What --communicator can name.
inline constexpr communicator_kind communicator_kinds[] = {
    {"threads", &run_threads}, {"processes", nullptr}, {"cuda", nullptr},
    {"mpi", nullptr},          {"nccl", nullptr},
};

/// The kind of that name. Throws std::invalid_argument, with what there is, if it is not built in.
const communicator_kind& communicator_named(std::string_view name);

}  // namespace bench
