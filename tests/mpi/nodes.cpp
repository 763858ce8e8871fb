// Ranks on several nodes: processes that share memory inside a node, MPI across nodes.
#include <allfold/allfold.hpp>
#include <allfold/communicator/mpi.hpp>
#include <allfold/launch/nodes.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/elements.hpp"

namespace {

using namespace std::chrono_literals;
using allfold::direct;
using allfold::hierarchical;
using allfold::native;
using world_type = allfold::mpi::communicator;

constexpr allfold::nodes::options cut{.one_lane_bytes = 256, .piece_bytes = 4096};
const allfold::processes::options inside{.timeout = 20s, .arena_bytes = std::size_t{64} << 20};

/// The numbers of ranks a node that come out even.
std::vector<int> lanes_of(int ranks) {
  std::vector<int> all;
  for (int lanes = 1; lanes <= ranks; ++lanes)
    if (ranks % lanes == 0) all.push_back(lanes);
  return all;
}

std::vector<float> values_of(int rank, std::size_t count) {
  test::random_bits random{static_cast<std::uint64_t>(rank) + 1};
  std::vector<float> all(count);
  for (float& each : all) each = static_cast<float>(random() % 20'001) / 10'000.0f - 1.0f;
  return all;
}
std::vector<float> folded_in_rank_order(int ranks, std::size_t count) {
  std::vector<float> all = values_of(0, count);
  for (int rank = 1; rank < ranks; ++rank) {
    const std::vector<float> next = values_of(rank, count);
    for (std::size_t i = 0; i < count; ++i) all[i] += next[i];
  }
  return all;
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("all ranks fold and move over both levels") {
  world_type flat{MPI_COMM_WORLD, {.timeout = 20s}};
  for (const int lanes : lanes_of(flat.size())) {
    CAPTURE(lanes);
    auto world = allfold::make_nodes(flat, flat.rank() / lanes, cut, inside);
    static_assert(std::is_same_v<decltype(world)::across_type, world_type>);
    REQUIRE(world.rank() == flat.rank());
    REQUIRE(world.lanes() == lanes);
    for (const std::size_t count : {1u, 60u, 20'011u}) {
      std::vector<float> data = values_of(world.rank(), count);
      allfold::all_reduce<direct>(world, data);
      CHECK(same_bits(data, folded_in_rank_order(world.size(), count)));
      std::vector<long> sums(count, world.rank() + 1),
          all(count * static_cast<std::size_t>(flat.size()));
      allfold::all_gather(world, sums, all);
      CHECK(all[count * static_cast<std::size_t>(flat.size()) - 1] == flat.size());
      allfold::all_reduce<hierarchical<direct, native>>(world, sums);
      CHECK(sums == std::vector<long>(count, flat.size() * (flat.size() + 1) / 2));
    }
  }
}

TEST_CASE("a failure on one level ends both, on every node") {
  world_type flat{MPI_COMM_WORLD, {.timeout = 20s}};
  for (const int lanes : lanes_of(flat.size())) {
    CAPTURE(lanes);
    auto world = allfold::make_nodes(flat, flat.rank() / lanes, cut, inside);
    flat.meet();
    const auto begin = std::chrono::steady_clock::now();
    const auto train = [&] {
      std::vector<float> data(20'011);
      for (int round = 0;; ++round) {
        if (round == 2 && world.rank() == world.size() - 1) {
          world.abort("the loss is not finite");
          throw std::runtime_error{"no step"};
        }
        allfold::all_reduce(world, data);
      }
    };
    if (world.rank() == world.size() - 1)
      CHECK_THROWS_WITH(train(), "no step");
    else
      CHECK_THROWS_WITH_AS(train(), doctest::Contains("gives up: the loss is not finite"),
                           allfold::error);
    CHECK(std::chrono::steady_clock::now() - begin < 15s);
    flat.meet();
  }
}

TEST_CASE("a rank that is late is named on the other node too, where MPI can't tell who it is") {
  world_type flat{MPI_COMM_WORLD, {.timeout = 20s}};
  if (flat.size() != 4) return;
  constexpr auto limit = 2s;
  world_type across{MPI_COMM_WORLD, {.timeout = limit}};
  auto world = allfold::make_nodes(across, flat.rank() / 2, cut,
                                   {.timeout = limit, .arena_bytes = std::size_t{64} << 20});
  flat.meet();
  // Rank 0 waits for rank 1, in time, but begins to do so later than rank 2 for rank 0.
  if (world.rank() == 0) std::this_thread::sleep_for(250ms);
  if (world.rank() == 1) std::this_thread::sleep_for(4s);
  std::vector<float> data(5);
  std::string told;
  try {
    allfold::all_reduce<hierarchical<direct, native>>(world, data);
  } catch (const allfold::timeout_error& thrown) {
    told = thrown.what();
  }
  CAPTURE(told);
  // Whether it was heard of by way of other levels or not, the last is what rank 0 has seen.
  const auto where = told.rfind("inside node 0 (its ranks 0, 1 are ranks 0, 1 of all): ");
  const auto seen = told.rfind(": rank 0 has waited 2000 ms in ");
  CHECK(where != told.npos);
  CHECK(seen != told.npos);
  CHECK(where < seen);
  CHECK(told.find(" of all): ", seen) == told.npos);
  CHECK(told.find("for rank 1 (its process ") != told.npos);
  flat.meet();
}

TEST_CASE("any thread may fail a communicator while another one is in a collective") {
  world_type flat{MPI_COMM_WORLD, {.timeout = 20s}};
  if (flat.size() < 2) return;
  world_type world = flat.companion();
  flat.meet();
  if (world.rank() == 0) {
    std::thread other{[&] {
      std::this_thread::sleep_for(50ms);
      world.abort("a watchdog barks");
    }};
    CHECK_THROWS_WITH_AS(allfold::barrier(world), doctest::Contains("rank 0 gives up: a watchdog"),
                         allfold::usage_error);
    other.join();
  } else {
    if (world.rank() > 1)
      CHECK_THROWS_WITH_AS(allfold::barrier(world), doctest::Contains("a watchdog barks"),
                           allfold::usage_error);
  }
  flat.meet();  // rank 1 has not come
}
