#include "launching/how_ranks_meet.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>
#include <vector>

namespace launching_md::how_ranks_meet {

TEST_CASE("launching.md: ranks meet where the launcher says") {
  const auto folder =
      std::filesystem::temp_directory_path() / ("allfold-meet-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  allfold::launch_environment in_folder, by_tcp;
  in_folder.rendezvous = folder.string();
  by_tcp.address = "127.0.0.1";
  by_tcp.port = 16384 + getpid() % 16384;
  for (const auto& told : {in_folder, by_tcp}) {
    int all[2][2] = {};
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 2; ++rank)
      ranks.emplace_back([&, rank] {
        auto own = told;
        own.rank = rank;
        own.size = 2;
        own.job = "one start";
        const int mine = 10 + rank;
        const auto exchange = meet(own);
        exchange(&mine, sizeof mine, all[rank]);
      });
    for (std::thread& each : ranks) each.join();
    for (const auto& seen : all) {
      CHECK(seen[0] == 10);
      CHECK(seen[1] == 11);
    }
  }
  std::filesystem::remove_all(folder);
}

}  // namespace launching_md::how_ranks_meet
