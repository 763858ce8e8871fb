#include "concepts/ranks_and_communicators_2.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <thread>

namespace concepts_md::ranks_and_communicators_2 {

/// What the threads of three ranks throw, by rank; rank 2 does `last`.
std::vector<std::string> thrown_by(
    std::function<void(std::shared_ptr<allfold::threads::team>)> last) {
  const auto team = std::make_shared<allfold::threads::team>(3, allfold::threads::team_options{});
  std::vector<std::string> thrown(3);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank)
    threads.emplace_back([&, rank] {
      try {
        rank == 2 ? last(team) : work(team, rank);
      } catch (const allfold::rank_lost_error& error) {
        thrown[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  for (std::thread& each : threads) each.join();
  return thrown;
}

TEST_CASE("concepts.md: threads that exist already, and one that leaves") {
  for (const std::string& each : thrown_by([](auto team) { work(team, 2); })) CHECK(each == "");
  const auto thrown = thrown_by([](auto team) { allfold::threads::communicator{team, 2}; });
  for (int rank : {0, 1})
    CHECK(thrown[static_cast<std::size_t>(rank)].find("rank 2") != std::string::npos);
}

}  // namespace concepts_md::ranks_and_communicators_2
