// Gradients that are reduced in buckets, while the backward pass goes on or afterwards.
#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <stdexcept>

namespace {

using namespace outcomes;
using namespace allfold;
using arrays = models::arrays<float>;
using small_buckets = buckets<200, 1000>;

/// Parameters and gradients side by side in one piece of memory each, as many engines have them.
struct arena {
  std::vector<std::size_t> sizes;
  std::size_t gap;  // between gradients
  std::vector<float> values, slopes;

  explicit arena(std::vector<std::size_t> all, std::size_t between = 0)
      : sizes{std::move(all)}, gap{between} {
    for (const std::size_t size : sizes) values.resize(values.size() + size + gap);
    slopes.resize(values.size());
  }
  std::vector<std::span<float>> cut(std::vector<float>& whole) const {
    std::vector<std::span<float>> parts;
    std::size_t begin = 0;
    for (const std::size_t size : sizes) {
      parts.push_back(std::span{whole}.subspan(begin, size));
      begin += size + gap;
    }
    return parts;
  }
  std::vector<std::span<float>> parameters() { return cut(values); }
  std::vector<std::span<float>> gradients() { return cut(slopes); }
};

const std::vector<std::size_t> sizes{30, 1, 400, 7, 0, 64, 12, 300};

/// All ranks' gradients after three steps in which they were ready in any order, by rank.
template <class Strategy>
std::vector<std::vector<float>> reduced(int ranks, overlap how) {
  std::vector<std::vector<float>> all(at(ranks));
  spawn(ranks, [&](auto& world) {
    arrays model{sizes};
    data_parallel<arrays, Strategy> replica{model, world, {.overlap = how}};
    std::mt19937 random{static_cast<unsigned>(world.rank())};
    std::vector<std::size_t> order(sizes.size());
    std::iota(order.begin(), order.end(), 0u);
    for (int step = 0; step < 3; ++step) {
      std::shuffle(order.begin(), order.end(), random);
      replica.backward([&](auto&& ready) {
        for (const std::size_t index : order) {
          const auto noise = models::noise<float>(sizes[index], static_cast<unsigned>(random()));
          std::copy(noise.begin(), noise.end(), model.slopes[index].begin());
          ready(index);
        }
      });
      for (const auto& each : model.slopes)
        all[at(world.rank())].insert(all[at(world.rank())].end(), each.begin(), each.end());
    }
  });
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("a thread reduces to the same bits as the rank itself", strategy,
                   distributed<direct, small_buckets>, distributed<ring, small_buckets>,
                   distributed<tree, small_buckets>, distributed<halving_doubling, small_buckets>,
                   distributed<automatic>, primary_device<0, small_buckets>) {
  for (int ranks = 1; ranks <= 5; ++ranks) {
    CAPTURE(ranks);
    const auto afterwards = reduced<strategy>(ranks, overlap::none);
    const auto meanwhile = reduced<strategy>(ranks, overlap::by_thread);
    for (int rank = 0; rank < ranks; ++rank) {
      CHECK(models::same_bits(afterwards[at(rank)], meanwhile[at(rank)]));
      if (strategy::steps_everywhere) CHECK(models::same_bits(meanwhile[at(rank)], meanwhile[0]));
    }
  }
}

TEST_CASE("gradients side by side are reduced where they lie, a bucket in one go") {
  const auto collectives = [](int ranks, auto make) {
    std::vector<std::size_t> found(at(ranks));
    std::vector<std::size_t> expected(at(ranks));
    spawn(ranks, [&](auto& world) {
      auto model = make(world.rank());
      data_parallel<decltype(model), distributed<direct, small_buckets>> replica{model, world};
      const auto before = world.traffic().calls;
      for (std::span<float> each : model.gradients())
        std::fill(each.begin(), each.end(), static_cast<float>(world.rank()));
      replica.reduce_gradients();
      for (std::span<float> each : model.gradients())
        for (const float value : each)
          if (value != static_cast<float>(ranks - 1) / 2) throw std::logic_error{"a wrong mean"};
      if (world.traffic().calls - before != replica.collectives_per_step())
        throw std::logic_error{"other collectives"};
      found[at(world.rank())] = replica.collectives_per_step();
      expected[at(world.rank())] = replica.buckets().size();
    });
    CHECK(found == std::vector(at(ranks), found[0]));
    return std::pair{found[0], expected[0]};
  };
  const auto flat = collectives(3, [](int) { return arena{sizes}; });
  CHECK(flat.first == flat.second);
  CHECK(flat.second > 2);
  const auto apart = collectives(3, [](int) { return arena{sizes, 1}; });
  CHECK(apart.first == sizes.size() - 1);  // one has no elements
  // What is not so on every rank is nothing that ranks can agree on.
  for (int odd = 0; odd < 3; ++odd)
    CHECK(collectives(3, [&](int rank) {
            return arena{sizes, rank == odd ? 1u : 0u};
          }).first == sizes.size() - 1);
}

TEST_CASE("the first buckets are reduced before the backward pass is over, if a thread does it") {
  using namespace std::chrono_literals;
  for (const overlap how : {overlap::by_thread, overlap::none}) {
    std::vector<int> early(2, 0);
    spawn(2, [&](auto& world) {
      arrays model{{1000, 1000, 1000, 1000}};
      data_parallel<arrays, distributed<direct, buckets<4000, 4000>>> replica{
          model, world, {.overlap = how}};
      bucket_times::moment end;
      replica.backward([&](auto&& ready) {
        for (std::size_t i = 4; i > 0; --i) {
          ready(i - 1);
          std::this_thread::sleep_for(30ms);
        }
        end = std::chrono::steady_clock::now();
      });
      if (replica.bucket_timeline().size() != 4) throw std::logic_error{"other buckets"};
      for (const bucket_times& each : replica.bucket_timeline()) {
        if (each.bytes != 4000 || each.ready > each.begin || each.begin > each.end)
          throw std::logic_error{"a wrong timeline"};
        early[at(world.rank())] += each.end < end ? 1 : 0;
      }
    });
    CHECK(early == std::vector<int>(2, how == overlap::none ? 0 : 4));
  }
}

TEST_CASE("what a thread reduces is in the traffic of the rank's communicator") {
  const auto moved = [](overlap how) {
    std::vector<threads::traffic> found(3);
    spawn(3, [&](auto& world) {
      arrays model{{3000, 6000, 3000}};  // too long for slots
      data_parallel<arrays, distributed<ring, buckets<12000, 12000>>> replica{
          model, world, {.overlap = how}};
      if (replica.overlaps() != (how == overlap::by_thread)) throw std::logic_error{"overlap"};
      const auto before = world.traffic();
      replica.reduce_gradients();
      const auto now = world.traffic();
      found[at(world.rank())] = {now.bytes_read - before.bytes_read,
                                 now.bytes_written - before.bytes_written,
                                 now.calls - before.calls};
    });
    return found;
  };
  const auto meanwhile = moved(overlap::by_thread), afterwards = moved(overlap::none);
  for (std::size_t rank = 0; rank < 3; ++rank) {
    CHECK(afterwards[rank].bytes_read > 48000);
    CHECK(meanwhile[rank].bytes_read == afterwards[rank].bytes_read);
    CHECK(meanwhile[rank].bytes_written == afterwards[rank].bytes_written);
    CHECK(meanwhile[rank].calls == afterwards[rank].calls);
  }
}

TEST_CASE("collectives of the engine's own do not come in between") {
  const auto all = run_ranks(3, [](auto& world) {
    arrays model{sizes};
    data_parallel<arrays, distributed<ring, small_buckets>> replica{
        model, world, {.overlap = overlap::by_thread}};
    for (int step = 0; step < 50; ++step)
      replica.backward([&](auto&& ready) {
        for (std::size_t i = sizes.size(); i > 0; --i) {
          std::vector<int> mine(3, world.rank() + step);
          model.slopes[i - 1].assign(sizes[i - 1], static_cast<float>(world.rank()));
          ready(i - 1);
          all_reduce(world, mine);
          if (mine != std::vector<int>(3, 3 + 3 * step)) throw std::logic_error{"a wrong sum"};
        }
      });
    for (const auto& each : model.slopes)
      for (const float value : each)
        if (value != 1.0f) throw std::logic_error{"a wrong mean"};
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("an engine that throws is heard of though threads wait for its gradients") {
  for (int size = 2; size <= 4; ++size)
    for (int odd = 0; odd < size; ++odd) {
      const auto all = run_ranks(size, [&](auto& world) {
        arrays model{sizes};
        data_parallel<arrays, distributed<direct, small_buckets>> replica{
            model, world, {.overlap = overlap::by_thread}};
        for (int step = 0; step < 3; ++step)
          replica.backward([&](auto&& ready) {
            for (std::size_t i = sizes.size(); i > 0; --i) {
              if (world.rank() == odd && step == 2 && i == 3)
                throw std::runtime_error{"the loss is no number"};
              ready(i - 1);
            }
          });
      });
      for (int rank = 0; rank < size; ++rank) {
        CAPTURE(all[at(rank)].text);
        if (rank == odd)
          CHECK(all[at(rank)].text == "the loss is no number");
        else
          CHECK(all[at(rank)].says(rank_name(odd) + " threw: the loss is no number"));
      }
    }
}

namespace {

/// No compression, which fails on one rank after a while.
struct fragile {
  int calls = 0;

  template <class T, class Ranks>
  void combine(std::span<T> gradient, std::size_t, Ranks& ranks) {
    if (ranks.rank() == 1 && ++calls == 7) throw std::runtime_error{"no room for residuals"};
    ranks.reduce(gradient);
  }
};

}  // namespace

TEST_CASE("what fails in a rank's thread is told to the other ranks") {
  const auto all = run_ranks(3, [](auto& world) {
    arrays model{sizes};
    data_parallel<arrays, distributed<direct, small_buckets, fragile>> replica{
        model, world, {.overlap = overlap::by_thread}};
    for (int step = 0; step < 3; ++step)
      replica.backward([&](auto&& ready) { ready(std::size_t{0}, sizes.size()); });
  });
  for (int rank = 0; rank < 3; ++rank)
    CHECK_MESSAGE(all[at(rank)].says(rank == 1 ? "no room for residuals"
                                               : "rank 1 threw: no room for residuals"),
                  all[at(rank)].text);
}

TEST_CASE("a gradient that is never ready is named though threads wait for it") {
  const auto all = run_ranks(3, [](auto& world) {
    arrays model{sizes};
    data_parallel<arrays, distributed<tree, small_buckets>> replica{
        model, world, {.overlap = overlap::by_thread}};
    replica.backward([&](auto&& ready) {
      for (std::size_t i = sizes.size(); i > 0; --i)
        if (world.rank() != 1 || i != 3) ready(i - 1);
    });
  });
  for (const outcome& each : all) {
    CHECK_MESSAGE(each.says("parameter 2 (layer2.weight) was never ready"), each.text);
    CHECK_MESSAGE(each.says("rank 1"), each.text);
  }
}

TEST_CASE("buckets can be rebuilt once, as rank 0's gradients were ready") {
  for (const overlap how : {overlap::none, overlap::by_thread}) {
    const auto all = run_ranks(3, [&](auto& world) {
      arrays model{{50, 50, 50, 50}};
      data_parallel<arrays, distributed<direct, buckets<200, 400>>> replica{
          model, world, {.overlap = how, .rebuild_buckets = true}};
      const std::vector<std::size_t> order = world.rank() == 0
                                                 ? std::vector<std::size_t>{2, 0, 3, 1}
                                                 : std::vector<std::size_t>{0, 1, 2, 3};
      for (int step = 0; step < 3; ++step) {
        const std::string before = describe(replica.buckets());
        replica.backward([&](auto&& ready) {
          for (const std::size_t i : order) {
            model.slopes[i].assign(50, static_cast<float>(world.rank() + step));
            ready(i);
          }
        });
        const std::vector<std::vector<std::size_t>> expected{{2}, {0, 3}, {1}};
        for (std::size_t b = 0; b < 3; ++b)
          if (replica.buckets()[b].members != expected[b]) throw std::logic_error{"other buckets"};
        if ((step == 0) == (before == describe(replica.buckets())))
          throw std::logic_error{"rebuilt at another time"};
        for (const bucket_times& each : replica.bucket_timeline())
          if (each.bytes == 0 || each.end < each.begin || each.begin < each.ready ||
              each.ready == bucket_times::moment{})
            throw std::logic_error{"buckets without times"};
        for (const auto& each : model.slopes)
          for (const float value : each)
            if (value != static_cast<float>(1 + step)) throw std::logic_error{"a wrong mean"};
      }
    });
    for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  }
}

TEST_CASE("an order that was rebuilt is taken back with a state from before") {
  const auto all = run_ranks(2, [](auto& world) {
    arrays model{{50, 50, 50, 50}};
    data_parallel<arrays, distributed<direct, buckets<200, 400>>> replica{
        model, world, {.rebuild_buckets = true}};
    const std::string first = describe(replica.buckets());
    const replica_state saved = replica.state();
    const auto pass = [&] {
      replica.backward([](auto&& ready) {
        for (const std::size_t i : std::array<std::size_t, 4>{2, 0, 3, 1}) ready(i);
      });
    };
    pass();
    const std::string rebuilt = describe(replica.buckets());
    if (rebuilt == first) throw std::logic_error{"not rebuilt"};
    replica.restore(saved);
    if (describe(replica.buckets()) != first) throw std::logic_error{"not taken back"};
    pass();
    if (describe(replica.buckets()) != rebuilt) throw std::logic_error{"not rebuilt again"};
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("a pass that reduces nothing has no times of buckets") {
  const auto all = run_ranks(2, [](auto& world) {
    arrays model{{50, 50}};
    data_parallel<arrays, distributed<>> replica{model, world};
    replica.reduce_gradients();
    if (replica.bucket_timeline().size() != 1) throw std::logic_error{"no times"};
    const auto guard = replica.no_sync();
    replica.backward([](auto&& ready) { ready(0, 2); });
    if (!replica.bucket_timeline().empty()) throw std::logic_error{"another pass's times"};
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

#if defined(__linux__)
TEST_CASE("all ranks overlap or none, though some have fewer cores") {
  spawn_processes(3, [](auto& world) {
    if (world.rank() == 1) pin_this_thread(0);
    arrays model{{50, 50}};
    data_parallel<arrays, distributed<>> replica{model, world};
    model.fill(0, static_cast<float>(world.rank()));
    replica.backward([](auto&& ready) { ready(0, 2); });
    if (model.slopes[0][0] != 1.0f) throw std::logic_error{"a wrong mean"};
    if (replica.overlaps()) throw std::logic_error{"a thread without a core"};
  });
}
#endif
