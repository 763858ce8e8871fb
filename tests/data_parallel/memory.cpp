// How much memory a replica takes, and where gradients lie.
#include <allfold/allfold.hpp>
#include <allfold/data_parallel/power_sgd.hpp>
#include <allfold/data_parallel/top_k.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"

#include <doctest/doctest.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <stdexcept>

namespace {

using namespace outcomes;
using namespace allfold;

/// A model whose gradients lie where it is told.
struct bound_model {
  std::vector<std::vector<float>> values;
  std::vector<std::span<float>> slopes;

  explicit bound_model(const std::vector<std::size_t>& sizes) {
    for (const std::size_t size : sizes) values.emplace_back(size, 1.0f);
  }
  std::vector<std::span<float>> parameters() { return {values.begin(), values.end()}; }
  std::vector<std::span<float>> gradients() { return slopes; }
  void bind_gradients(const std::vector<std::span<float>>& parts) { slopes = parts; }
};

/// A model that keeps the memory of its gradients, whose parameters have a layout, and some of
/// whose numbers no step changes.
struct keeping_model : bound_model {
  std::shared_ptr<void> kept;
  std::vector<double> constants = std::vector<double>(3);
  std::string layout = "plain";

  using bound_model::bound_model;
  void bind_gradients(const std::vector<std::span<float>>& parts,
                      const std::shared_ptr<void>& keeper) {
    slopes = parts;
    kept = keeper;
  }
  std::array<std::span<double>, 1> frozen() { return {constants}; }
  std::vector<std::string> layouts() { return {layout}; }
};

/// The engine's own, which has a free function.
struct foreign_model {
  std::vector<double> values = std::vector<double>(30);
  std::vector<std::span<double>> slopes;
};
std::array<std::span<double>, 2> parameters(foreign_model& it) {
  return {std::span{it.values}.first(10), std::span{it.values}.last(20)};
}
std::vector<std::span<double>> gradients(foreign_model& it) { return it.slopes; }
void bind_gradients(foreign_model& it, const std::vector<std::span<double>>& parts) {
  it.slopes = parts;
}

/// Bytes in blocks so large that the system is asked for each, of all threads.
std::size_t large_blocks() {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
  return mallinfo2().hblkhd;
#else
  return 0;
#endif
}

/// False with another C library, and under sanitizers.
bool large_blocks_are_told() {
  const std::size_t before = large_blocks();
  const std::vector<char> block(std::size_t{64} << 20);
  return large_blocks() >= before + block.size();
}

}  // namespace

TEST_CASE("gradients that lie where the replica says are one stretch, reduced where they lie") {
  const auto all = run_ranks(3, [](auto& world) {
    bound_model model{{100, 0, 7, 3000}};
    data_parallel<bound_model, distributed<ring>> replica{model, world};
    float* next = model.slopes.front().data();
    if (reinterpret_cast<std::uintptr_t>(next) % 64 != 0) throw std::logic_error{"not at a line"};
    for (std::size_t i = 0; i < model.slopes.size(); ++i) {
      if (model.slopes[i].data() != next || model.slopes[i].size() != model.values[i].size())
        throw std::logic_error{"not side by side"};
      for (const float each : model.slopes[i])
        if (each != 0) throw std::logic_error{"not zero"};
      next += model.slopes[i].size();
    }
    if (replica.collectives_per_step() != 1) throw std::logic_error{"more than one collective"};
    if (replica.memory().gradients != 4 * 3107 || replica.memory().of_replica != 4 * 3107)
      throw std::logic_error{"another size"};
    for (int step = 0; step < 3; ++step) {
      for (std::span<float> each : model.slopes)
        std::fill(each.begin(), each.end(), static_cast<float>(world.rank() + step));
      replica.reduce_gradients();
      for (std::span<float> each : model.slopes)
        for (const float value : each)
          if (value != static_cast<float>(1 + step)) throw std::logic_error{"a wrong mean"};
    }
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("by a free function of the engine's") {
  const auto all = run_ranks(2, [](auto& world) {
    foreign_model model;
    data_parallel<foreign_model, primary_device<>> replica{model, world};
    if (replica.memory().of_replica != 240) throw std::logic_error{"another size"};
    if (model.slopes[0].data() + 10 != model.slopes[1].data()) throw std::logic_error{"apart"};
    replica.reduce_gradients();
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("a model may keep the memory of its gradients for longer than the replica") {
  spawn(3, [](auto& world) {
    keeping_model model{{10}};
    std::weak_ptr<void> memory;
    {
      data_parallel<keeping_model, distributed<>> replica{model, world};
      memory = model.kept;
      std::fill(model.slopes[0].begin(), model.slopes[0].end(), 6.0f);
      replica.reduce_gradients();
    }
    CHECK(model.slopes[0][9] == 6.0f);
    model.kept.reset();
    CHECK(memory.expired());
  });
}

TEST_CASE("what is frozen is sent once") {
  spawn(3, [](auto& world) {
    keeping_model model{{10}};
    model.constants.assign(3, world.rank() + 5.0);
    data_parallel<keeping_model, distributed<>> replica{model, world};
    CHECK(model.constants == std::vector<double>(3, 5.0));
    model.constants.assign(3, world.rank() + 7.0);
    replica.reduce_gradients();
    CHECK(model.constants == std::vector<double>(3, world.rank() + 7.0));
  });
  for (const outcome& each : run_ranks(3, [](auto& world) {
         keeping_model model{{10}};
         if (world.rank() == 1) model.constants.resize(4);
         data_parallel<keeping_model, distributed<>> replica{model, world};
       })) {
    CHECK(each.how == ending::mismatch);
    CHECK_MESSAGE(each.says("frozen in bytes is 32 on rank 1 and 24 on rank 0"), each.text);
  }
}

TEST_CASE("parameters that are laid out in other ways are told of on every rank") {
  for (const outcome& each : run_ranks(3, [](auto& world) {
         keeping_model model{{10}};
         if (world.rank() == 2) model.layout = "turned";
         data_parallel<keeping_model, distributed<>> replica{model, world};
       })) {
    CHECK(each.how == ending::mismatch);
    CHECK_MESSAGE(each.says("parameter 0, which is "), each.text);
    CHECK_MESSAGE(each.says("is laid out on rank 2 otherwise than on rank 0"), each.text);
  }
}

TEST_CASE("reducing takes no memory of the gradients' size") {
  if (!large_blocks_are_told()) {
    MESSAGE("skipped: this C library does not say what it has given out");
    return;
  }
  constexpr std::size_t count = std::size_t{16} << 20, bytes = count * sizeof(float);
  for (const overlap how : {overlap::none, overlap::by_thread})
    spawn(2, [&](auto& world) {
      models::arrays<float> own{{count}};
      barrier(world);
      const std::size_t before = large_blocks();
      barrier(world);
      data_parallel<models::arrays<float>, distributed<direct>> replica{
          own, world, {.overlap = how}};
      replica.backward([](auto&& ready) { ready(0); });
      replica.step([](std::span<float>, std::span<const float>) {});
      barrier(world);
      CHECK(large_blocks() == before);
      CHECK(replica.memory().gradients == bytes);
      CHECK(replica.memory().of_replica == 0);
      barrier(world);
    });
  spawn(2, [&](auto& world) {
    bound_model model{{count}};
    barrier(world);
    const std::size_t before = large_blocks();
    barrier(world);
    data_parallel<bound_model, distributed<direct>> replica{model, world};
    replica.reduce_gradients();
    barrier(world);
    const std::size_t taken = large_blocks() - before;
    CHECK(taken >= 2 * bytes);  // by both ranks
    CHECK(taken <= 2 * bytes + (std::size_t{16} << 20));
    barrier(world);
  });
}

TEST_CASE_TEMPLATE("what a compression keeps is said", compression,
                   wire<bfloat16, error_feedback::on>, top_k<1>, power_sgd<1>) {
  if (!large_blocks_are_told()) {
    MESSAGE("skipped: this C library does not say what it has given out");
    return;
  }
  constexpr std::size_t count = std::size_t{9} << 20, bytes = count * sizeof(float);
  spawn(2, [&](auto& world) {
    models::arrays<float> own{{count}};
    data_parallel<models::arrays<float>, distributed<direct, buckets<>, compression>> replica{
        own, world, {.overlap = overlap::none}};
    CHECK(replica.memory().of_compression == 0);
    barrier(world);
    const std::size_t before = large_blocks();
    barrier(world);
    replica.reduce_gradients();
    barrier(world);
    const std::size_t taken = large_blocks() - before, said = 2 * replica.memory().of_compression;
    CHECK(said >= 2 * bytes);  // the residuals, at least
    CHECK(taken >= said - said / 16);
    CHECK(taken <= said + said / 16);
    barrier(world);
  });
}
