// Where the time of a step was spent.
#include <allfold/allfold.hpp>
#include <allfold/data_parallel/top_k.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <thread>

namespace {

using namespace outcomes;
using namespace allfold;
using namespace std::chrono_literals;
using arrays = models::arrays<float>;
using std::this_thread::sleep_for;

/// What `train(replica, rank)` leaves in the times of each of two ranks.
template <class Train>
std::vector<step_times> times_of(overlap how, Train train) {
  std::vector<step_times> found(2);
  spawn(2, [&](auto& world) {
    arrays model{{1000}};
    data_parallel<arrays, distributed<direct>> replica{model, world, {.overlap = how}};
    train(replica, world.rank());
    found[at(world.rank())] = replica.times();
  });
  return found;
}

/// The bytes of three steps, each of two passes of which the first accumulates: after the first
/// pass and after the step, the same on every rank.
template <class Strategy>
std::vector<std::uint64_t> bytes_of_steps(int ranks, overlap how) {
  std::vector<std::vector<std::uint64_t>> found(at(ranks));
  spawn(ranks, [&](auto& world) {
    arrays model{{1000, 24}};
    data_parallel<arrays, Strategy> replica{model, world, {.overlap = how}};
    const auto pass = [&] { replica.backward([](auto&& ready) { ready(0, 2); }); };
    for (int step = 0; step < 3; ++step) {
      const std::uint64_t before = replica.compression().bytes_sent();
      {
        const auto guard = replica.no_sync();
        pass();
      }
      found[at(world.rank())].push_back(replica.times().bytes);
      pass();
      replica.step([] {});
      const std::uint64_t bytes = replica.times().bytes;
      found[at(world.rank())].push_back(bytes);
      if (replica.compression().bytes_sent() - before != bytes)
        throw std::logic_error{"the compression counts otherwise"};
      std::uint64_t of_buckets = 0;
      for (const bucket_times& each : replica.bucket_timeline()) of_buckets += each.sent;
      if (of_buckets != bytes) throw std::logic_error{"buckets count otherwise"};
    }
  });
  for (const auto& each : found) CHECK(each == found[0]);
  return found[0];
}

}  // namespace

TEST_CASE("each part of a step counts what was spent in it") {
  const auto times = times_of(overlap::none, [](auto& replica, int rank) {
    replica.forward([&] { sleep_for(rank == 0 ? 90ms : 10ms); });
    replica.backward([](auto&& ready) {
      sleep_for(30ms);
      ready(0);
    });
    replica.step([] { sleep_for(20ms); });
  });
  CHECK(times[0].forward >= 90ms);
  CHECK(times[1].forward >= 10ms);
  for (const step_times& each : times) {
    CHECK(each.backward >= 30ms);
    CHECK(each.step >= 20ms);
    CHECK(each.computation() == each.forward + each.backward + each.step);
    CHECK(each.communication == each.exposed);  // nothing goes on meanwhile
  }
  CHECK(times[1].exposed >= 30ms);  // waiting for rank 0
}

TEST_CASE("communication that computation hides is not exposed") {
  for (const overlap how : {overlap::by_thread, overlap::none}) {
    const auto times = times_of(how, [](auto& replica, int rank) {
      replica.backward([&](auto&& ready) {
        if (rank == 1) sleep_for(100ms);
        ready(0);  // rank 0's thread waits for that of rank 1 while rank 0 computes
        if (rank == 0) sleep_for(150ms);
      });
    });
    CHECK(times[0].backward >= 150ms);
    if (how == overlap::by_thread) {
      CHECK(times[0].communication >= 60ms);
      CHECK(times[0].exposed < times[0].communication - 50ms);
    } else {
      CHECK(times[0].communication == times[0].exposed);
    }
  }
}

TEST_CASE("passes that accumulate belong to the step that follows") {
  const auto times = times_of(overlap::by_thread, [](auto& replica, int) {
    const auto pass = [&] {
      replica.forward([] { sleep_for(10ms); });
      replica.backward([](auto&& ready) {
        sleep_for(20ms);
        ready(0);
      });
    };
    for (int step = 0; step < 2; ++step) {
      {
        const auto guard = replica.no_sync();
        pass();
        pass();
      }
      pass();
      replica.step([] { sleep_for(5ms); });
      if (replica.times().step > 200ms) throw std::logic_error{"of more than one step"};
    }
  });
  for (const step_times& each : times) {
    CHECK(each.forward >= 30ms);
    CHECK(each.backward >= 60ms);
    CHECK(each.step >= 5ms);
  }
}

TEST_CASE("a step's first pass begins anew") {
  for (const bool forwards : {false, true}) {
    const auto times = times_of(overlap::none, [&](auto& replica, int) {
      replica.forward([] { sleep_for(60ms); });
      replica.backward([](auto&& ready) {
        sleep_for(60ms);
        ready(0);
      });
      replica.step([] { sleep_for(60ms); });
      if (forwards) replica.forward([] {});
      if (!forwards) replica.reduce_gradients();
    });
    for (const step_times& each : times) {
      CHECK(each.forward < 60ms);
      CHECK(each.backward == 0ms);
      CHECK(each.step == 0ms);
    }
  }
}

TEST_CASE("a rank that shadows others counts the last of their steps") {
  step_times::duration last{}, whole{};
  spawn(2, [&](auto& world) {
    arrays model{{1000}};
    data_parallel<arrays, distributed<>> replica{model, world};
    auto joined = replica.join();
    for (int step = 0; step < 8 && world.rank() == 0; ++step) {
      replica.backward([](auto&& ready) {
        sleep_for(20ms);
        ready(0);
      });
      replica.step([] {});
    }
    step_times::duration taken{};
    {
      const detail::stopwatch counting{taken};
      joined.finish([] {});
    }
    if (world.rank() == 1) last = replica.times().communication, whole = taken;
  });
  CHECK(last >= 10ms);
  CHECK(last < whole / 2);
}

TEST_CASE("a step's bytes are those that its reductions brought, compressed") {
  using cut = buckets<4000, 4000>;
  const auto in_steps = [](std::uint64_t bytes) {
    return std::vector<std::uint64_t>{0, bytes, 0, bytes, 0, bytes};
  };
  for (const overlap how : {overlap::by_thread, overlap::none}) {
    CHECK(bytes_of_steps<distributed<direct, cut>>(2, how) == in_steps(1024 * 4));
    CHECK(bytes_of_steps<primary_device<0, cut>>(3, how) == in_steps(1024 * 4));
    CHECK(bytes_of_steps<distributed<direct, cut, wire<bfloat16>>>(2, how) == in_steps(1024 * 2));
    // A hundredth of each stretch, rounded up, with their places.
    CHECK(bytes_of_steps<distributed<direct, cut, top_k<10>>>(2, how) == in_steps((10 + 1) * 8));
    CHECK(bytes_of_steps<distributed<direct, cut>>(1, how) == in_steps(0));
    CHECK(bytes_of_steps<local_sgd<2, 1, distributed<direct, cut>>>(2, how) ==
          std::vector<std::uint64_t>{0, 1024 * 4, 0, 0, 0, 0});
  }
}
