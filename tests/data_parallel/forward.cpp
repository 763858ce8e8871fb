// Forward passes that a replica runs: with rank 0's buffers.
#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"

#include <doctest/doctest.h>

#include <stdexcept>
#include <type_traits>

namespace {

using namespace outcomes;
using namespace allfold;
using arrays = models::arrays<float>;
using replica_type = data_parallel<arrays, distributed<direct>>;

constexpr int team_size = 3;

void require(bool fact, const char* what) {
  if (!fact) throw std::logic_error{what};
}
void check_returned(const std::vector<outcome>& all) {
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}
std::vector<double> filled(double value) { return std::vector<double>(3, value); }

}  // namespace

TEST_CASE("a forward pass has rank 0's buffers, which its backward pass leaves alone") {
  check_returned(run_ranks(team_size, [](auto& world) {
    arrays model{{10}};
    replica_type replica{model, world, {.overlap = overlap::none}};
    const double own = 10.0 + world.rank();
    for (int step = 0; step < 3; ++step) {
      model.statistics = filled(own);
      const auto calls = world.traffic().calls;
      replica.forward([&] {
        require(model.statistics == filled(10), "not rank 0's in the forward pass");
        model.statistics = filled(own + 5);
      });
      require(world.traffic().calls == calls + 1, "other collectives before the forward pass");
      replica.backward([&](auto&& ready) {
        require(model.statistics == filled(own + 5), "sent again by the backward pass");
        ready(0);
      });
      require(world.traffic().calls == calls + 2, "other collectives in the backward pass");
      replica.step([] {});
      // A backward pass without one sends them itself.
      replica.backward([&](auto&& ready) {
        require(model.statistics == filled(15), "not rank 0's in the backward pass");
        ready(0);
      });
    }
  }));
}

TEST_CASE("every forward pass sends them, reduce_gradients after one does not") {
  check_returned(run_ranks(team_size, [](auto& world) {
    arrays model{{10}};
    replica_type replica{model, world, {.overlap = overlap::none}};
    for (int pass = 0; pass < 2; ++pass) {
      model.statistics = filled(pass + world.rank());
      replica.forward([&] { require(model.statistics == filled(pass), "not rank 0's"); });
    }
    model.statistics = filled(world.rank());
    replica.reduce_gradients();
    require(model.statistics == filled(world.rank()), "sent again");
    replica.reduce_gradients();
    require(model.statistics == filled(0), "not sent");
  }));
}

TEST_CASE("no buffers are sent where none are to be sent") {
  check_returned(run_ranks(team_size, [](auto& world) {
    arrays model{{10}};
    replica_type off{model, world, {.broadcast_buffers = false}}, replica{model, world};
    model.statistics = filled(world.rank());
    const auto stays = [&] { require(model.statistics == filled(world.rank()), "sent"); };
    off.forward(stays);
    {
      const auto guard = replica.no_sync();
      replica.forward(stays);
      replica.backward([&](auto&& ready) { ready(0); });
    }
    stays();
    replica.forward([&] { require(model.statistics == filled(0), "not sent after the guard"); });
  }));
}

TEST_CASE("a forward pass returns what the engine's does") {
  check_returned(run_ranks(2, [](auto& world) {
    arrays model{{10}};
    replica_type replica{model, world};
    float loss = 3;
    float& same = replica.forward([&]() -> float& { return loss; });
    require(&same == &loss, "a copy");
    require(replica.forward([] { return 4; }) == 4, "another value");
    static_assert(std::is_void_v<decltype(replica.forward([] {}))>);
  }));
}

TEST_CASE("an engine whose forward pass throws is heard of") {
  for (int odd = 0; odd < team_size; ++odd) {
    const auto all = run_ranks(team_size, [&](auto& world) {
      arrays model{{10}};
      replica_type replica{model, world, {.overlap = overlap::by_thread}};
      replica.forward([&] {
        if (world.rank() == odd) throw std::runtime_error{"no such token"};
      });
      replica.backward([](auto&& ready) { ready(0); });
    });
    for (int rank = 0; rank < team_size; ++rank)
      CHECK_MESSAGE(all[at(rank)].says(rank == odd ? "no such token"
                                                   : rank_name(odd) + " threw: no such token"),
                    all[at(rank)].text);
  }
}

TEST_CASE("ranks without inputs shadow forward passes too") {
  check_returned(run_ranks(team_size, [](auto& world) {
    arrays model{{10}};
    replica_type replica{model, world};
    auto joined = replica.join({.divide_by = divide_by::live_ranks});
    for (int pass = 0; pass <= world.rank(); ++pass) {
      replica.forward([&] {
        // The lowest live rank's buffers: rank `pass` is the lowest that has so many inputs.
        if (pass > 0) require(model.statistics == filled(pass), "another rank's buffers");
      });
      replica.backward([&](auto&& ready) {
        model.slopes[0].assign(10, 6.0f);
        ready(0);
      });
      require(model.slopes[0] == std::vector<float>(10, 6.0f), "a wrong mean");
      model.statistics = filled(world.rank());
      replica.step([] {});
    }
    joined.finish([] {});
  }));
}

TEST_CASE("within a join forward and backward passes take turns") {
  const auto twice = run_ranks(2, [](auto& world) {
    arrays model{{10}};
    replica_type replica{model, world};
    auto joined = replica.join();
    replica.forward([] {});
    if (world.rank() == 0) replica.forward([] {});
    replica.backward([](auto&& ready) { ready(0); });
    joined.finish([] {});
  });
  const auto without = run_ranks(2, [](auto& world) {
    arrays model{{10}};
    replica_type replica{model, world};
    auto joined = replica.join();
    replica.forward([] {});
    if (world.rank() == 1) replica.backward([](auto&& ready) { ready(0); });
    joined.finish([] {});
  });
  for (const auto& all : {twice, without})
    for (const outcome& each : all) {
      CHECK(each.how == ending::usage);
      CHECK_MESSAGE(each.says("rank 0"), each.text);
      CHECK_MESSAGE(each.says("within a join a backward pass follows each forward pass"),
                    each.text);
    }
}
