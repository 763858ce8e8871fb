// Processes that meet anew by the exchanges of a team that they are already.
#pragma once

#include <allfold/allfold.hpp>
#include <allfold/communicator/processes.hpp>
#include <cstddef>
#include <span>

namespace test {

/// Gives all ranks of `team` all ranks' bytes, as launchers do.
inline auto exchange_by(allfold::processes::communicator& team) {
  return [&team](const void* mine, std::size_t size, void* all) {
    const auto ranks = static_cast<std::size_t>(team.size());
    allfold::all_gather(team, std::span{static_cast<const std::byte*>(mine), size},
                        std::span{static_cast<std::byte*>(all), size * ranks});
  };
}

}  // namespace test
