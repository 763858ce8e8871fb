// Trainings that are killed in the middle and go on: to the same bits as one that was not.
#include <allfold/data_parallel/checkpoint.hpp>

#include <allfold/allfold.hpp>
#include <allfold/data_parallel/power_sgd.hpp>
#include <allfold/data_parallel/resume.hpp>
#include <allfold/data_parallel/state_file.hpp>
#include <allfold/data_parallel/top_k.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>

namespace {

using namespace outcomes;
using namespace allfold;
namespace fs = std::filesystem;

constexpr std::size_t samples = 60, per_batch = 5;
constexpr std::uint64_t epochs = 3;

/// Least squares in 40 unknowns, in two parameters, with momentum.
struct training {
  models::arrays<float> model{{30, 10}};
  std::vector<std::vector<float>> speed{std::vector<float>(30), std::vector<float>(10)};

  training() { model.fill(0.5f, 0.0f); }
  void backward(std::span<const std::size_t> batch, auto&& ready) {
    for (auto& each : model.slopes) std::fill(each.begin(), each.end(), 0.0f);
    for (const std::size_t sample : batch) {
      const auto x = [&](std::size_t i) {
        return static_cast<float>((sample * 31 + i * 17) % 23) / 23.0f - 0.5f;
      };
      float error = -static_cast<float>(sample % 7);
      for (std::size_t i = 0; i < 40; ++i) error += x(i) * value(i);
      for (std::size_t i = 0; i < 40; ++i)
        slope(i) += error * x(i) / static_cast<float>(batch.size());
    }
    ready(0);  // not in the order that buckets are made for at first
    ready(1);
  }
  void operator()(std::size_t i, std::span<float> parameter, std::span<const float> gradient) {
    for (std::size_t k = 0; k < parameter.size(); ++k) {
      speed[i][k] = 0.9f * speed[i][k] + gradient[k];
      parameter[k] -= 0.02f * speed[i][k];
    }
  }
  float& value(std::size_t i) { return i < 30 ? model.values[0][i] : model.values[1][i - 30]; }
  float& slope(std::size_t i) { return i < 30 ? model.slopes[0][i] : model.slopes[1][i - 30]; }
};

fs::path file_of(const fs::path& folder, int rank, std::uint64_t step) {
  return folder / ("rank" + std::to_string(rank) + "." + std::to_string(step));
}

template <class Replica>
void save(const fs::path& folder, int rank, training& it, Replica& replica,
          const sampler_position& at) {
  state_writer writer;
  put_position(writer, "sampler", at);
  put_replica(writer, "replica", replica);
  for (std::size_t i = 0; i < 2; ++i) {
    writer.put("values " + std::to_string(i), it.model.values[i]);
    writer.put("speed " + std::to_string(i), it.speed[i]);
  }
  save_state(file_of(folder, rank, replica.steps()), writer.finish());
}

/// The last step that all ranks have saved; 0 if there is none.
std::uint64_t last_step(const fs::path& folder, int ranks) {
  for (std::uint64_t step = 1000; step > 0; --step) {
    bool all = true;
    for (int rank = 0; rank < ranks && all; ++rank) all = fs::exists(file_of(folder, rank, step));
    if (all) return step;
  }
  return 0;
}

/// Trains from the last state in the folder on, saving after each step. Kills its own process
/// before step `kill_at`.
template <class Strategy>
void train(const fs::path& folder, int ranks, std::uint64_t kill_at) {
  const std::uint64_t from = last_step(folder, ranks);
  spawn(ranks, [&](auto& world) {
    training it;
    data_parallel<models::arrays<float>, Strategy> replica{
        it.model,
        world,
        {.rebuild_buckets = std::is_same_v<typename Strategy::compression, uncompressed>}};
    distributed_sampler sampler{samples, world, {.seed = 3}};
    sampler_position at = sampler.start_of(0);
    if (from > 0) {
      const state_reader saved = load_state(file_of(folder, world.rank(), from));
      at = get_position(saved, "sampler");
      get_replica(saved, "replica", replica);
      for (std::size_t i = 0; i < 2; ++i) {
        saved.get_into("values " + std::to_string(i), it.model.values[i]);
        saved.get_into("speed " + std::to_string(i), it.speed[i]);
      }
    }
    while (at.epoch < epochs)
      for (const auto batch : sampler.batches_from(at, per_batch)) {
        replica.backward([&](auto&& ready) { it.backward(batch, ready); });
        if (replica.steps() + 1 == kill_at && world.rank() == 0) ::kill(::getpid(), SIGKILL);
        replica.step(it);
        at = sampler.after_batch(at, per_batch);
        save(folder, world.rank(), it, replica, at);
      }
  });
}

/// Runs it in a process of its own. True if it was killed.
template <class Strategy>
bool run(const fs::path& folder, int ranks, std::uint64_t kill_at) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      train<Strategy>(folder, ranks, kill_at);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) return true;
  CHECK(WEXITSTATUS(status) == 0);
  return false;
}

struct folder {
  fs::path path = fs::temp_directory_path() / ("allfold_checkpoint_" + std::to_string(::getpid()));
  folder() { renew(); }
  ~folder() { fs::remove_all(path); }
  void renew() const {
    fs::remove_all(path);
    fs::create_directory(path);
  }
};

/// The bytes of the last state of a rank.
std::vector<char> bytes_of(const fs::path& path) {
  std::vector<char> all(fs::file_size(path));
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  REQUIRE(file != nullptr);
  CHECK(std::fread(all.data(), 1, all.size(), file) == all.size());
  std::fclose(file);
  return all;
}
template <class Strategy>
std::vector<std::vector<char>> trained(int ranks, const std::vector<std::uint64_t>& kills) {
  const folder here;
  for (const std::uint64_t at : kills) CHECK(run<Strategy>(here.path, ranks, at));
  CHECK(!run<Strategy>(here.path, ranks, 0));
  std::vector<std::vector<char>> states;
  for (int rank = 0; rank < ranks; ++rank)
    states.push_back(bytes_of(file_of(here.path, rank, last_step(here.path, ranks))));
  return states;
}

}  // namespace

TEST_CASE_TEMPLATE("a training that is killed goes on to the same bits", strategy,
                   distributed<direct>, distributed<ring, buckets<16, 64>>, primary_device<>,
                   local_sgd<3, 4>,
                   distributed<direct, buckets<>, wire<bfloat16, error_feedback::on>>,
                   distributed<direct, buckets<>, power_sgd<1, power_sgd_options{.start_step = 3}>>,
                   distributed<direct, buckets<16, 64>, top_k<100>>) {
  for (const int ranks : {1, 2, 3}) {
    CAPTURE(ranks);
    const auto whole = trained<strategy>(ranks, {});
    CHECK(whole == trained<strategy>(ranks, {6, 9}));
    CHECK(whole == trained<strategy>(ranks, {1, 11}));
  }
}

TEST_CASE("buckets are not rebuilt under a compression") {
  for (const outcome& each : run_ranks(2, [](auto& world) {
         models::arrays<float> model{{30, 10}};
         data_parallel<models::arrays<float>, distributed<direct, buckets<>, top_k<10>>> replica{
             model, world, {.rebuild_buckets = true}};
       }))
    CHECK_MESSAGE(each.says("rebuild_buckets does not go with a compression"), each.text);
}

TEST_CASE("an order of buckets of another model is refused") {
  for (const std::vector<std::uint64_t>& order :
       {std::vector<std::uint64_t>{0}, {0, 0}, {1, 2}, {0, 1, 2}}) {
    const auto all = run_ranks(2, [&](auto& world) {
      models::arrays<float> model{{30, 10}};
      data_parallel<models::arrays<float>, distributed<>> replica{model, world};
      replica.restore({5, order});
    });
    for (const outcome& each : all)
      CHECK_MESSAGE(each.says("is none of this model's 2"), each.text);
  }
}

TEST_CASE("what another rank left out is refused, and may be dropped") {
  using strategy = distributed<direct, buckets<>, top_k<100>>;
  std::vector<std::vector<std::byte>> saved(2);
  spawn(2, [&](auto& world) {
    models::arrays<float> model{{300}};
    data_parallel<models::arrays<float>, strategy> replica{model, world};
    const auto slopes = models::noise<float>(300, static_cast<unsigned>(world.rank()));
    std::copy(slopes.begin(), slopes.end(), model.slopes[0].begin());
    replica.reduce_gradients();
    replica.step([] {});
    state_writer writer;
    put_replica(writer, "replica", replica);
    saved[at(world.rank())] = writer.finish();
  });
  const auto read_by = [&](int ranks, auto from, residuals how) {
    return run_ranks(ranks, [&](auto& world) {
      models::arrays<float> model{{300}};
      data_parallel<models::arrays<float>, strategy> replica{model, world};
      get_replica(state_reader{saved[from(world.rank())]}, "replica", replica, how);
      if (replica.steps() != 1) throw std::logic_error{"other steps"};
      model.fill(0, 0);
      replica.reduce_gradients();  // what was left out comes now, or never
      const bool comes = model.slopes[0] != std::vector<float>(300);
      if (comes != (how == residuals::own)) throw std::logic_error{"other residuals"};
    });
  };
  const auto own = [](int rank) { return at(rank); };
  const auto first = [](int) { return std::size_t{0}; };
  for (const outcome& each : read_by(2, own, residuals::own))
    CHECK_MESSAGE(each.how == ending::returned, each.text);
  for (const int ranks : {1, 3})
    for (const outcome& each : read_by(ranks, first, residuals::dropped))
      CHECK_MESSAGE(each.how == ending::returned, each.text);
  CHECK(read_by(2, first, residuals::own)[1].says(
      "rank 1 of 2: the compression's state in \"replica\" is that of rank 0 of 2"));
  CHECK(read_by(1, first, residuals::own)[0].says("rank 0 of 1"));
}

TEST_CASE("where no sum is rounded, another number of ranks goes on to the same bits") {
  // Whole numbers, and learning rates that are powers of two: all sums are exact.
  const auto trained = [](std::vector<int> ranks_by_epoch) {
    std::vector<float> values(20, 0.0f);
    std::vector<std::byte> saved;
    for (std::size_t epoch = 0; epoch < ranks_by_epoch.size(); ++epoch)
      spawn(ranks_by_epoch[epoch], [&](auto& world) {
        models::arrays<float> model{{20}};
        model.values[0] = values;
        data_parallel<models::arrays<float>, distributed<ring>> replica{
            model, world, {.scale = scale::sum}};
        if (!saved.empty()) get_replica(state_reader{saved}, "replica", replica);
        const distributed_sampler sampler{48, world, {.seed = 2}};
        for (const auto batch : sampler.batches(epoch, at(12 / world.size()))) {
          for (std::size_t i = 0; i < 20; ++i) {
            float& slope = model.slopes[0][i] = 0;
            for (const std::size_t sample : batch)
              slope += static_cast<float>((sample * 7 + i * 3) % 11) - 4.0f;
          }
          replica.reduce_gradients();
          replica.step([&](std::span<float> parameter, std::span<const float> gradient) {
            for (std::size_t i = 0; i < parameter.size(); ++i) parameter[i] -= gradient[i] / 64;
          });
        }
        allfold::barrier(world);  // all have read
        if (world.rank() != 0) return;
        values = model.values[0];
        state_writer writer;
        put_replica(writer, "replica", replica);
        saved = writer.finish();
      });
    return values;
  };
  const std::vector<float> whole = trained({2, 2, 2});
  CHECK(whole != std::vector<float>(20, 0.0f));
  CHECK(models::same_bits(whole, trained({2, 3, 1})));
  CHECK(models::same_bits(whole, trained({4, 1, 6})));
}
