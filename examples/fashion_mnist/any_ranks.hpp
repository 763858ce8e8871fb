#pragma once

#include "dataset.hpp"
#include "ending.hpp"
#include "mlp.hpp"
#include "optimizer.hpp"
#include "settings.hpp"

#include <allfold/allfold.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

// One training, whatever its ranks are. `train` is the same for all, and so are the bits that it
// ends with, where gradients are folded in rank order.
namespace fashion_mnist {

struct arguments : settings {
  std::string ranks_as, data = "/usr/share/datasets/fashion-mnist", mark;
  std::size_t limit = 60000;
  int timeout = 600;  // seconds

  std::chrono::seconds patience() const { return std::chrono::seconds{timeout}; }
};

// What every rank does, by a communicator of any kind.
template <class Algorithm>
void train(auto& world, const arguments& given) {
  const dataset training = load(given.data, "train", given.limit);
  const dataset test = load(given.data, "t10k", given.limit);
  mlp model{given.seed};
  momentum_descent optimizer{static_cast<float>(given.rate), static_cast<float>(given.momentum),
                             model.parameters().size()};
  allfold::data_parallel<mlp, allfold::distributed<Algorithm>> replica{model, world};
  const allfold::distributed_sampler sampler{
      training.size(), world, {.seed = given.seed, .shuffle = true}};
  const auto begin = std::chrono::steady_clock::now();
  batch current;
  std::size_t steps = 0;
  for (std::size_t epoch = 0; epoch < given.epochs; ++epoch) {
    const auto batches =
        sampler.batches(epoch, given.batch / static_cast<std::size_t>(world.size()));
    for (auto samples : batches) {
      const auto done =
          static_cast<float>(steps++) / static_cast<float>(batches.size() * given.epochs);
      optimizer.rate = static_cast<float>(given.rate) * (1.0f - done);
      training.gather(samples, current);
      replica.backward([&](auto&& ready) { model.backward(current, ready); });
      replica.step(optimizer);
      if (steps == 10 && world.rank() == 0 && !given.mark.empty()) std::ofstream{given.mark};
    }
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  const double right = accuracy(world, model, test);
  const std::vector<std::uint64_t> all = hashes(world, model);
  const bool same = std::ranges::all_of(all, [&](auto each) { return each == all[0]; });
  if (world.rank() == 0) {
    std::printf("%d ranks as %s: test accuracy %.2f %%, %.2f s, parameters %016" PRIx64 "%s\n",
                world.size(), given.ranks_as.c_str(), 100 * right, taken.count(), all[0],
                same ? " on all ranks" : ", AND OTHERS ON OTHER RANKS");
    std::fflush(stdout);
  }
  if (!same) throw std::runtime_error{"the ranks' parameters differ"};
}

// A program whose ranks are one of `kinds`, the first if nothing is said, and train by `run`.
// Returns its exit status.
int run_program(const std::string& name, const std::vector<std::string>& kinds, int count,
                char** values, auto run) {
  arguments given;
  given.ranks_as = kinds[0];
  CLI::App app{"Fashion-MNIST by ranks of any kind."};
  app.option_defaults()->always_capture_default();
  app.add_option("--ranks-as", given.ranks_as, "what the ranks are")->check(CLI::IsMember(kinds));
  app.add_option("--ranks", given.ranks, "how many, where no launcher says so")
      ->check(CLI::Range(1, 64));
  app.add_option("--epochs", given.epochs, "passes over the samples")->check(CLI::Range(1, 1000));
  app.add_option("--batch", given.batch, "samples in a step, of all ranks together")
      ->check(CLI::Range(1, 60000));
  app.add_option("--seed", given.seed, "of first parameters and of the order of samples");
  app.add_option("--limit", given.limit, "use the first samples only, to train and to test")
      ->check(CLI::Range(1, 60000));
  app.add_option("--data", given.data, "folder of the four .gz files");
  app.add_option("--timeout", given.timeout, "seconds that ranks wait for each other at most")
      ->check(CLI::Range(1, 86400));
  app.add_option("--mark", given.mark, "a file that rank 0 makes after its tenth step");
  CLI11_PARSE(app, count, values);
  try {
    run(given);
    return 0;
  } catch (const missing_dataset& error) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
    return 77;  // what CTest and Automake take for "skipped"
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
    return 2;
  }
}

}  // namespace fashion_mnist
