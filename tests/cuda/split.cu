// Teams of the ranks on a GPU.
#include <doctest/doctest.h>

#include <stdexcept>

#include "communicator/outcome.hpp"
#include "cuda/on_device.cuh"

namespace {

using namespace outcomes;
using on_device::numbers;
using on_device::tally;
using test::world;

}  // namespace

TEST_CASE("teams are divided by color and ordered by key, and stay on the GPU") {
  test::failures list;
  test::run_world(6, [&](world& world) {
    const int rank = world.rank();
    test::world team = world.split(rank % 2, -rank);
    if (team.size() != 3 || team.rank() != 2 - rank / 2 || team.gpu() != 0)
      list.add("rank " + std::to_string(rank) + " has rank " + std::to_string(team.rank()) +
               " of " + std::to_string(team.size()));
    numbers data(20'000, static_cast<unsigned>(rank));
    allfold::all_reduce(team, data);
    on_device::expect(
        on_device::fetched(team, data),
        [&](std::size_t) { return static_cast<unsigned>(6 + 3 * (rank % 2)); }, "the team's sum",
        list);
  });
  CHECK_NONE(list);
}

TEST_CASE("teams work at the same time, interleaved with the one that they come from") {
  test::failures list;
  test::run_world(6, [&](world& world) {
    test::world columns = world.split(world.rank() % 2), rows = world.split(world.rank() / 2);
    tally of_all{world, 3'000}, of_column{columns, 50'000}, of_row{rows, 100};
    for (int round = 0; round < 60; ++round) {
      of_column.give<allfold::ring>(columns);
      of_row.give<allfold::direct>(rows);
      of_all.give<allfold::tree>(world);
      of_column.give<allfold::direct>(columns);
    }
    of_all.check(world, 60, "all", list);
    of_column.check(columns, 120, "a column", list);
    of_row.check(rows, 60, "a row", list);
  });
  CHECK_NONE(list);
}

TEST_CASE("a team of a team, and of one") {
  test::failures list;
  test::run_world(8, [&](world& world) {
    test::world half = world.split(world.rank() / 4);
    test::world quarter = half.split(half.rank() / 2);
    test::world alone = quarter.split(quarter.rank());
    numbers one(1'000, 1u);
    for (test::world* each : {&alone, &quarter, &half, &world}) {
      allfold::all_reduce<allfold::ring>(*each, one);
      each->synchronize();  // each has a stream of its own
    }
    on_device::expect(
        on_device::fetched(world, one), [](std::size_t) { return 1u * 2u * 4u * 8u; },
        "the product", list);
  });
  CHECK_NONE(list);
}

TEST_CASE("a failure of one team is its own") {
  std::vector<outcome> in_team(4);
  test::failures list;
  test::run_world(4, [&](world& world) {
    in_team[at(world.rank())] = attempt([&] {
      test::world team = world.split(world.rank() % 2);
      numbers data(world.rank() == 3 ? 11u : 10u);
      allfold::all_reduce(team, data);
    });
    tally it{world, 10'000};
    it.give<allfold::direct>(world);
    it.check(world, 1, "all ranks afterwards", list);
  });
  CHECK_NONE(list);
  for (int rank = 0; rank < 4; ++rank) {
    CAPTURE(in_team[at(rank)].text);
    CHECK(in_team[at(rank)].how == (rank % 2 == 1 ? ending::mismatch : ending::returned));
    if (rank % 2 == 1) CHECK(in_team[at(rank)].says("rank 1 calls all_reduce #"));
  }
}
