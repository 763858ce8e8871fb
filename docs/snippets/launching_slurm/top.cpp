#include "launching_slurm/top.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <allfold/launch/spawn_processes.hpp>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace launching_slurm_md::top {

TEST_CASE("launching_slurm.md: ranks meet as srun tells them") {
  const auto folder =
      std::filesystem::temp_directory_path() / ("allfold-slurm-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  allfold::spawn_processes(2, [&](allfold::processes::communicator& world) {
    const std::string rank = std::to_string(world.rank());
    for (const auto& [name, value] : std::initializer_list<std::pair<const char*, std::string>>{
             {"SLURM_JOB_ID", "7"},
             {"SLURM_STEP_ID", "0"},
             {"SLURM_PROCID", rank},
             {"SLURM_LOCALID", rank},
             {"SLURM_NODEID", "0"},
             {"SLURM_STEP_NUM_TASKS", "2"},
             {"SLURM_STEP_TASKS_PER_NODE", "2"},
             {"ALLFOLD_RENDEZVOUS", folder.string()}})
      setenv(name, value.c_str(), 1);
    const auto exchange = meet();
    const int mine = 10 + world.rank();
    int all[2] = {};
    exchange(&mine, sizeof mine, all);
    if (all[0] != 10 || all[1] != 11) throw std::logic_error{"other bytes"};
  });
  std::filesystem::remove_all(folder);
}

}  // namespace launching_slurm_md::top
