#include <allfold/allfold.hpp>

#include "outcome.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using world_type = allfold::threads::communicator;

struct seat {
  int rank = -1, size = -1;

  bool operator==(const seat&) const = default;
};

/// Where every rank must land, by the rule as written: those of one color, by key, then by rank.
std::vector<seat> expected_seats(const std::vector<int>& colors, const std::vector<int>& keys) {
  std::vector<seat> seats(colors.size());
  for (std::size_t i = 0; i < colors.size(); ++i) {
    seats[i] = {0, 0};
    for (std::size_t j = 0; j < colors.size(); ++j) {
      if (colors[j] != colors[i]) continue;
      ++seats[i].size;
      if (keys[j] < keys[i] || (keys[j] == keys[i] && j < i)) ++seats[i].rank;
    }
  }
  return seats;
}

void check_seats(const std::vector<int>& colors, const std::vector<int>& keys) {
  const int size = static_cast<int>(colors.size());
  std::vector<seat> seats(colors.size());
  std::vector<std::vector<int>> met(colors.size());
  const auto all = run_ranks(size, [&](world_type& world) {
    const std::size_t me = at(world.rank());
    world_type team = world.split(colors[me], keys[me]);
    seats[me] = {team.rank(), team.size()};
    met[me].resize(at(team.size()));
    allfold::all_gather(team, std::vector<int>{world.rank()}, met[me]);
  });
  for (const outcome& each : all) REQUIRE_MESSAGE(each.how == ending::returned, each.text);
  const std::vector<seat> expected = expected_seats(colors, keys);
  CHECK(seats == expected);
  for (std::size_t i = 0; i < colors.size(); ++i)
    for (std::size_t place = 0; place < met[i].size(); ++place) {
      const std::size_t who = at(met[i][place]);
      CHECK(colors[who] == colors[i]);
      CHECK(at(expected[who].rank) == place);
    }
}

}  // namespace

TEST_CASE("ranks of one color form a team, ordered by key, then by rank") {
  constexpr int least = std::numeric_limits<int>::min();
  constexpr int most = std::numeric_limits<int>::max();
  check_seats({7}, {0});
  check_seats({0, 0, 0, 0}, {0, 0, 0, 0});
  check_seats({0, 1, 2, 3}, {0, 0, 0, 0});
  check_seats({0, 1, 0, 1, 0}, {0, 0, 0, 0, 0});
  check_seats({0, 0, 0, 1, 1, 1}, {5, 4, 3, 2, 1, 0});
  check_seats({1, 1, 1, 1, 1}, {1, 0, 1, 0, 1});
  check_seats({least, most, -1, least, most, -1}, {most, least, 0, least, most, -5});
  std::mt19937 random{11};
  for (int i = 0; i < 100; ++i) {
    std::vector<int> colors(1 + random() % 7), keys(colors.size());
    for (int& each : colors) each = static_cast<int>(random() % 3);
    for (int& each : keys) each = static_cast<int>(random() % 4) - 2;
    check_seats(colors, keys);
  }
}

TEST_CASE("more ranks than cores split as well") {
  std::vector<int> colors(48), keys(48);
  for (std::size_t i = 0; i < colors.size(); ++i) {
    colors[i] = static_cast<int>(i % 5);
    keys[i] = -static_cast<int>(i);
  }
  check_seats(colors, keys);
}

TEST_CASE("a new team has the options of the old one") {
  const auto all = run_ranks(
      2,
      [](world_type& world) {
        const world_type team = world.split(0);
        if (team.shared()->options().timeout != 12345ms ||
            team.shared()->options().crowded != world.shared()->options().crowded)
          throw std::logic_error{"other options"};
        if (team.shared() == world.shared()) throw std::logic_error{"the same team"};
      },
      12345ms);
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("teams work at the same time, interleaved with the one that they come from") {
  constexpr int size = 6;
  const auto all = run_ranks(size, [](world_type& world) {
    const int rank = world.rank();
    world_type columns = world.split(rank % 2, -rank), rows = world.split(rank / 2);
    for (int round = 0; round < 60; ++round) {
      const std::size_t count = round % 3 == 0 ? 5 : 2000;
      const auto expect = [&](const std::vector<int>& data, int value) {
        for (const int each : data)
          if (each != value) throw std::logic_error{"a wrong result"};
      };
      std::vector<int> data(count, rank + round);
      allfold::all_reduce<allfold::ring>(columns, data);  // rank, rank ± 2, …
      expect(data, 3 * (rank % 2 + 2 + round));
      if (rank % 2 == 0) allfold::broadcast<allfold::tree>(columns, data, 1);
      data.assign(count, rank);
      allfold::all_reduce(rows, data);
      expect(data, 4 * (rank / 2) + 1);
      data.assign(count, 1);
      allfold::all_reduce<allfold::tree>(world, data);
      expect(data, size);
      if (rank / 2 == round % 3) allfold::barrier(rows);
      data.assign(count, columns.rank() == 0 ? rank : -1);
      allfold::broadcast(columns, data, 0);
      expect(data, 4 + rank % 2);  // the keys put the highest rank first
    }
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("a team of a team of a team") {
  std::vector<int> sums(8);
  const auto all = run_ranks(8, [&](world_type& world) {
    world_type half = world.split(world.rank() / 4);
    world_type quarter = half.split(half.rank() / 2);
    world_type alone = quarter.split(quarter.rank());
    std::vector<int> value{1};
    for (world_type* each : {&alone, &quarter, &half, &world}) allfold::all_reduce(*each, value);
    sums[at(world.rank())] = value[0];
    if (alone.size() != 1 || quarter.size() != 2 || half.size() != 4)
      throw std::logic_error{"a wrong size"};
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  for (const int sum : sums) CHECK(sum == 1 * 2 * 4 * 8);
}

TEST_CASE("a team may be moved, and replaced by another") {
  const auto all = run_ranks(4, [](world_type& world) {
    std::vector<world_type> kept;
    kept.push_back(world.split(world.rank() % 2));
    kept.push_back(world.split(world.rank() / 2));
    world_type team = std::move(kept[0]);
    kept.erase(kept.begin());
    for (int i = 0; i < 20; ++i) {
      std::vector<int> one{1};
      allfold::all_reduce(team, one);
      allfold::all_reduce(kept[0], one);
      if (one[0] != 4) throw std::logic_error{"a wrong result"};
      team = world.split(world.rank() % 2);
    }
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("a failure of one team is its own") {
  for (int culprit = 0; culprit < 6; ++culprit) {
    std::vector<outcome> in_team(6), in_world(6);
    run_ranks(6, [&](world_type& world) {
      world_type team = world.split(world.rank() % 2);
      in_team[at(world.rank())] = attempt([&] {
        for (std::size_t i = 0; i < 20; ++i) {
          std::vector<float> data(world.rank() == culprit ? 100 + i / 10 : 100);
          allfold::all_reduce<allfold::ring>(team, data);
        }
      });
      in_world[at(world.rank())] = attempt([&] {
        std::vector<float> data(1000);
        allfold::all_reduce(world, data);
        world_type fresh = world.split(0);
        allfold::barrier(fresh);
      });
    });
    for (int rank = 0; rank < 6; ++rank) {
      const bool concerned = rank % 2 == culprit % 2;
      CAPTURE(in_team[at(rank)].text);
      CHECK(in_team[at(rank)].how == (concerned ? ending::mismatch : ending::returned));
      // The error names ranks as the team counts them.
      if (concerned) CHECK(in_team[at(rank)].says(rank_name(culprit / 2) + " calls"));
      CHECK_MESSAGE(in_world[at(rank)].how == ending::returned, in_world[at(rank)].text);
    }
  }
}

TEST_CASE("a rank that throws is missed by its teams, and in the end by all") {
  std::vector<outcome> in_team(6), in_world(6);
  std::atomic<int> divided{0};
  const auto all = run_ranks(6, [&](world_type& world) {
    world_type team = world.split(world.rank() / 3);
    ++divided;
    while (world.rank() == 4 && divided < 6) std::this_thread::yield();
    if (world.rank() == 4) throw std::runtime_error{"out of memory"};
    in_team[at(world.rank())] = attempt([&] {
      for (int i = 0; i < 50; ++i) {
        std::vector<float> data(1000);
        allfold::all_reduce<allfold::tree>(team, data);
      }
    });
    in_world[at(world.rank())] = attempt([&] { allfold::barrier(world); });
  });
  for (int rank = 0; rank < 6; ++rank) {
    if (rank == 4) continue;
    CAPTURE(in_team[at(rank)].text);
    CHECK(in_team[at(rank)].how == (rank < 3 ? ending::returned : ending::lost));
    if (rank >= 3) CHECK(in_team[at(rank)].says("rank 1"));
    CHECK(in_world[at(rank)].how == ending::lost);
    CHECK(in_world[at(rank)].says("rank 4 threw: out of memory"));
  }
  CHECK(all[4].text == "out of memory");
}

TEST_CASE("a rank that leaves while others wait in a team") {
  for (const int leaver : {1, 2, 5}) {
    std::vector<outcome> in_team(6), in_world(6);
    run_ranks(6, [&](world_type& world) {
      world_type team = world.split(world.rank() % 2);
      if (world.rank() == leaver) return;
      in_team[at(world.rank())] = attempt([&] { allfold::barrier(team); });
      in_world[at(world.rank())] = attempt([&] { allfold::barrier(world); });
    });
    for (int rank = 0; rank < 6; ++rank) {
      if (rank == leaver) continue;
      CAPTURE(in_team[at(rank)].text);
      const bool concerned = rank % 2 == leaver % 2;
      CHECK(in_team[at(rank)].how == (concerned ? ending::lost : ending::returned));
      if (concerned) CHECK(in_team[at(rank)].says(rank_name(leaver / 2) + " has left"));
      CHECK(in_world[at(rank)].how == ending::lost);
      CHECK(in_world[at(rank)].says(rank_name(leaver) + " has left"));
    }
  }
}

TEST_CASE("a rank may leave its team and stay in the one that the team comes from") {
  std::vector<outcome> in_team(4), in_world(4);
  run_ranks(4, [&](world_type& world) {
    in_team[at(world.rank())] = attempt([&] {
      world_type team = world.split(0);
      allfold::barrier(team);
      if (world.rank() == 3) return;
      allfold::barrier(team);
    });
    in_world[at(world.rank())] = attempt([&] { allfold::barrier(world); });
  });
  for (int rank = 0; rank < 4; ++rank) {
    CHECK(in_team[at(rank)].how == (rank == 3 ? ending::returned : ending::lost));
    CHECK_MESSAGE(in_world[at(rank)].how == ending::returned, in_world[at(rank)].text);
  }
}

TEST_CASE("who does not take part in a split is told, and so are all") {
  std::vector<outcome> told(3);
  run_ranks(3, [&](world_type& world) {
    told[at(world.rank())] = attempt([&] {
      if (world.rank() == 1)
        allfold::barrier(world);
      else
        world.split(0);
    });
  });
  for (const outcome& each : told) {
    CHECK(each.how == ending::mismatch);
    CHECK(each.says("rank 1 calls barrier #0"));
    CHECK(each.says("split.cpp:"));
  }

  run_ranks(3, [&](world_type& world) {
    told[at(world.rank())] = attempt([&] {
      if (world.rank() == 2) throw std::runtime_error{"gone"};
      world.split(0);
    });
    if (world.rank() == 2) throw std::runtime_error{"gone"};
  });
  for (int rank = 0; rank < 2; ++rank) {
    CHECK(told[at(rank)].how == ending::lost);
    CHECK(told[at(rank)].says("rank 2 threw: gone"));
  }
}

TEST_CASE("a team that has failed can't be split") {
  std::vector<outcome> told(3);
  run_ranks(3, [&](world_type& world) {
    world_type team = world.split(0);
    attempt([&] {
      std::vector<int> data(world.rank() == 0 ? 1u : 2u);
      allfold::all_reduce(team, data);
    });
    told[at(world.rank())] = attempt([&] { team.split(0); });
    world.split(1);
  });
  for (const outcome& each : told) CHECK(each.how == ending::mismatch);
}
