// A training on processes of which some are killed on the way, at random: those that are left go
// on, and end with the same parameters and an accuracy like any other.

#include "dataset.hpp"
#include "ending.hpp"
#include "mlp.hpp"
#include "optimizer.hpp"
#include "settings.hpp"

#include <allfold/allfold.hpp>
#include <allfold/data_parallel/batch_cursor.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <exception>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

namespace {

using namespace fashion_mnist;
using communicator = allfold::processes::communicator;

struct arguments : settings {
  int kills = 2;
  bool drop = false;
  std::string data = "/usr/share/datasets/fashion-mnist";
  std::size_t limit = 60000;
  double at_least = 0;

  std::size_t per_rank() const { return batch / static_cast<std::size_t>(ranks); }
  std::uint64_t steps(std::size_t samples) const { return samples / batch * epochs; }
};

// When a rank's process is killed: some time after it has begun a step.
struct fate {
  std::uint64_t step;
  std::chrono::microseconds later;
};

// Of `kills` ranks that are drawn by lot; the others' step is never reached.
std::vector<fate> draw(const arguments& given, std::uint64_t steps) {
  std::mt19937_64 random{given.seed};
  std::vector<fate> all(static_cast<std::size_t>(given.ranks), fate{~std::uint64_t{0}, {}});
  for (int i = 0; i < given.kills; ++i)
    all[static_cast<std::size_t>(i)] = {random() % (steps * 3 / 4 + 1),
                                        std::chrono::microseconds{random() % 3000}};
  std::shuffle(all.begin(), all.end(), random);
  return all;
}

// One rank's training. It knows what it needs to go on: the model, the optimizer, and where it is.
class participant {
 public:
  participant(communicator& world, const arguments& given, const dataset& training, fate own)
      : world{world},
        given{given},
        training{training},
        own{own},
        steps{static_cast<float>(given.steps(training.size()))} {}

  // Returns when the training is complete, however often ranks are lost.
  void run() {
    for (bool failed = false;;) try {
        if (std::exchange(failed, false)) go_on();
        for (; samples.epoch() < given.epochs; samples.advance()) step();
        allfold::barrier(world);  // a failure in the last step is everybody's
        return;
      } catch (const allfold::error& error) {
        if (world.rank() == 0) std::printf("  %s\n", error.what());
        failed = true;
      }
  }
  mlp& trained() { return model; }
  std::uint64_t steps_taken() const { return replica.steps(); }

 private:
  void step() {
    if (replica.steps() == own.step)
      std::thread{[later = own.later] {
        std::this_thread::sleep_for(later);
        kill(getpid(), SIGKILL);
      }}.detach();
    // Falls to 0, and with the number of samples in a step.
    const auto share = static_cast<float>(world.size()) / static_cast<float>(given.ranks);
    const float rest = 1.0f - static_cast<float>(replica.steps()) / steps;
    optimizer.rate = static_cast<float>(given.rate) * share * std::max(rest, 0.05f);
    training.gather(samples.batch(), current);
    replica.backward([&](auto&& ready) { model.backward(current, ready); });
    replica.step(optimizer);
  }
  void go_on() {
    const auto begin = std::chrono::steady_clock::now();
    world = world.shrink();
    const allfold::continuation found = replica.continue_on(world, [&](auto&& share) {
      share(optimizer);
      share(samples);
    });
    samples.go_on(world, found,
                  given.drop ? allfold::interrupted::drop : allfold::interrupted::repeat);
    const std::chrono::duration<double, std::milli> taken =
        std::chrono::steady_clock::now() - begin;
    if (world.rank() == 0)
      std::printf("  %d of %d go on after %" PRIu64 " steps, %.1f ms later\n", world.size(),
                  given.ranks, found.steps, taken.count());
  }

  communicator& world;
  const arguments& given;
  const dataset& training;
  fate own;
  float steps;
  mlp model{given.seed};
  momentum_descent optimizer{static_cast<float>(given.rate), static_cast<float>(given.momentum),
                             model.parameters().size()};
  batch current;
  allfold::data_parallel<mlp, allfold::distributed<>> replica{model, world};
  allfold::batch_cursor samples{
      allfold::distributed_sampler{training.size(), world, {.seed = given.seed}}, given.per_rank()};
};

void live(communicator& world, const arguments& given, const dataset& training, const dataset& test,
          fate own) {
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 14);  // of a rank that is killed too
  participant mine{world, given, training, own};
  mine.run();
  const double right = accuracy(world, mine.trained(), test);
  const std::vector<std::uint64_t> all = hashes(world, mine.trained());
  const bool same = std::ranges::all_of(all, [&](auto each) { return each == all[0]; });
  if (world.rank() == 0)
    std::printf("%d ranks are left after %" PRIu64
                " steps: test accuracy %.2f %%, parameters %016" PRIx64 "%s\n",
                world.size(), mine.steps_taken(), 100 * right, all[0],
                same ? " on all of them" : ", AND OTHERS ON OTHER RANKS");
  if (!same) throw std::runtime_error{"the ranks' parameters differ"};
  if (100 * right < given.at_least) throw std::runtime_error{"the test accuracy is too low"};
  if (world.size() != given.ranks - given.kills) throw std::runtime_error{"others were lost"};
}

int run(const arguments& given) {
  const dataset training = load(given.data, "train", given.limit);
  const dataset test = load(given.data, "t10k", given.limit);
  const std::vector<fate> fates = draw(given, given.steps(training.size()));
  std::printf("%d processes train, of which %d will be killed\n", given.ranks, given.kills);
  const auto endings = allfold::try_spawn_processes(given.ranks, [&](communicator& world) {
    live(world, given, training, test, fates[static_cast<std::size_t>(world.rank())]);
  });
  bool well = true;
  for (const allfold::process_ending& each : endings) {
    if (each.good() || each.signal == SIGKILL) continue;
    std::printf("%s\n", each.in_words().c_str());
    well = false;
  }
  return well ? 0 : 1;
}

}  // namespace

int main(int count, char** values) {
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 14);
  arguments given;
  given.ranks = 4;
  CLI::App app{"Fashion-MNIST by processes some of which are killed."};
  app.option_defaults()->always_capture_default();
  app.add_option("--ranks", given.ranks, "processes")->check(CLI::Range(1, 64));
  app.add_option("--kills", given.kills, "how many of them are killed")->check(CLI::Range(0, 63));
  app.add_flag("--drop", given.drop, "leave out the samples of a step in which one was killed");
  app.add_option("--epochs", given.epochs, "passes over the samples")->check(CLI::Range(1, 1000));
  app.add_option("--batch", given.batch, "samples in a step, of all ranks together")
      ->check(CLI::Range(1, 60000));
  app.add_option("--seed", given.seed, "of first parameters, of the order of samples and of fate");
  app.add_option("--limit", given.limit, "use the first samples only, to train and to test")
      ->check(CLI::Range(1, 60000));
  app.add_option("--at-least", given.at_least, "fail if the test accuracy is below, in per cent")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--data", given.data, "folder of the four .gz files");
  CLI11_PARSE(app, count, values);
  try {
    if (given.kills >= given.ranks) throw std::invalid_argument{"somebody must be left"};
    if (given.batch % static_cast<std::size_t>(given.ranks) != 0)
      throw std::invalid_argument{"--batch must be a multiple of --ranks: equal shares"};
    return run(given);
  } catch (const missing_dataset& error) {
    std::fprintf(stderr, "fashion_mnist_surviving: %s\n", error.what());
    return 77;  // what CTest and Automake take for "skipped"
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fashion_mnist_surviving: %s\n", error.what());
    return 2;
  }
}
