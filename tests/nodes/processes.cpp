// Ranks that are forked processes: shared memory inside a node, an engine or the same across.
#include <allfold/allfold.hpp>
#include <allfold/launch/nodes.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/elements.hpp"
#include "support/engine.hpp"

namespace {

using namespace std::chrono_literals;
using allfold::direct;
using allfold::hierarchical;
using allfold::native;
using flat_type = allfold::processes::communicator;
using engine = test::engine_over<flat_type>;

/// Throws unless it holds: in a forked process doctest can't count.
void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error{what};
}

/// The same values on every rank that asks for those of `rank`.
std::vector<float> values_of(int rank, std::size_t count) {
  test::random_bits random{static_cast<std::uint64_t>(rank) + 1};
  std::vector<float> all(count);
  for (float& each : all) each = test::random_float<float>(random, 20);
  for (float& each : all)
    if (!(each < 1e9f && each > -1e9f)) each = 1;
  return all;
}
template <class Range>
bool same(const Range& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), b.size() * sizeof(float)) == 0;
}

/// All ranks' values folded from left to right, or node by node.
std::vector<float> folded(int ranks, int lanes, std::size_t count, bool by_node) {
  std::vector<float> result(count);
  for (int first = 0; first < ranks; first += by_node ? lanes : ranks) {
    std::vector<float> part = values_of(first, count);
    for (int rank = first + 1; rank < (by_node ? first + lanes : ranks); ++rank) {
      const std::vector<float> next = values_of(rank, count);
      for (std::size_t i = 0; i < count; ++i) part[i] += next[i];
    }
    for (std::size_t i = 0; i < count; ++i) result[i] = first == 0 ? part[i] : result[i] + part[i];
  }
  return result;
}

constexpr allfold::nodes::options cut{.one_lane_bytes = 256, .piece_bytes = 4096};

/// Folds of `count` elements, in shared memory or elsewhere, by both orders.
template <class Across, class World>
void fold_all(World& world, std::size_t count) {
  const int ranks = world.size(), lanes = world.lanes();
  const std::string what = std::to_string(count) + " elements on " + std::to_string(ranks) +
                           " ranks, " + std::to_string(lanes) + " lanes";
  const std::vector<float> own = values_of(world.rank(), count);
  std::vector<float> data = own;
  allfold::all_reduce<hierarchical<direct, Across>>(world, data);
  require(same(data, folded(ranks, lanes, count, true)), "hierarchical: " + what);
  data = own;
  allfold::all_reduce<direct>(world, data);
  require(same(data, folded(ranks, lanes, count, false)), "in rank order: " + what);
  const auto shared = world.template allocate<float>(count);
  std::copy(own.begin(), own.end(), shared.begin());
  allfold::all_reduce<direct>(world, shared);
  require(same(shared, folded(ranks, lanes, count, false)), "in shared memory: " + what);
  std::vector<float> all(count * static_cast<std::size_t>(ranks));
  allfold::all_gather(world, own, all);
  for (int rank = 0; rank < ranks; ++rank)
    require(same(std::span{all}.subspan(count * static_cast<std::size_t>(rank), count),
                 values_of(rank, count)),
            "all_gather: " + what);
}

allfold::processes::options processes_by(allfold::processes::copying how) {
  return {.timeout = 60s, .arena_bytes = std::size_t{64} << 20, .copying = how};
}

/// How the ranks that were not killed ended; all that is no rank_lost_error is thrown there.
template <class Body>
std::vector<allfold::process_ending> endings_of(int ranks, Body body) {
  return allfold::try_spawn_processes(ranks, body,
                                      processes_by(allfold::processes::copying::automatic));
}

}  // namespace

TEST_CASE("nodes of processes fold as declared, by split and by an engine across") {
  using allfold::processes::copying;
  for (const copying how : {copying::once, copying::through_region})
    for (const int lanes : {1, 2, 3})
      allfold::spawn_processes(
          2 * lanes,
          [&](flat_type& flat) {
            const int node = flat.rank() / lanes;
            auto world = allfold::make_nodes(flat, node, cut);
            static_assert(std::is_same_v<decltype(world),
                                         allfold::nodes::communicator<flat_type, flat_type>>);
            engine everyone{flat.companion()};
            auto by_engine = allfold::make_nodes(everyone, node, cut, processes_by(how));
            static_assert(std::is_same_v<decltype(by_engine),
                                         allfold::nodes::communicator<flat_type, engine>>);
            require(world.rank() == flat.rank() && by_engine.rank() == flat.rank(), "ranks");
            for (const std::size_t count : {1u, 63u, 1001u, 20'011u}) {
              fold_all<direct>(world, count);
              fold_all<native>(by_engine, count);
            }
          },
          processes_by(how));
}

TEST_CASE("nodes are numbered by their first ranks, wherever the others are") {
  allfold::spawn_processes(6, [](flat_type& flat) {
    constexpr int node_of[] = {7, 3, 3, 7, 3, 7};
    const auto world = allfold::make_nodes(flat, node_of[flat.rank()]);
    constexpr int ranks[] = {0, 3, 4, 1, 5, 2};
    require(world.rank() == ranks[flat.rank()], "rank " + std::to_string(world.rank()));
    require(world.nodes() == 2 && world.lanes() == 3, "shape");
  });
}

TEST_CASE("a process that is killed is missed on every node") {
  for (const bool in_order : {false, true}) {
    const auto begin = std::chrono::steady_clock::now();
    const auto endings = endings_of(6, [&](flat_type& flat) {
      engine everyone{flat.companion()};
      auto world = allfold::make_nodes(everyone, flat.rank() / 3, cut);
      std::vector<float> data(20'001);
      for (int round = 0;; ++round) {
        if (round == 3 && world.rank() == 4) raise(SIGKILL);
        if (in_order)
          allfold::all_reduce<direct>(world, data);
        else
          allfold::all_reduce(world, data);
      }
    });
    CHECK(std::chrono::steady_clock::now() - begin < 30s);
    for (const allfold::process_ending& each : endings) {
      CAPTURE(each.thrown);
      if (each.rank == 4) {
        CHECK(each.signal == SIGKILL);
        CHECK(each.kind == allfold::host::failure_kind::lost);
      } else {
        CHECK(each.signal == 0);  // it has not been killed because it would not end
        CHECK(each.thrown.starts_with("allfold: rank " + std::to_string(each.rank) + " of 6"));
        CHECK(each.thrown.find(") is gone") != std::string::npos);
      }
    }
  }
}
