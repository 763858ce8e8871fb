// One training, whatever its ranks are: threads, processes of this machine, or processes that a
// launcher has started. `train` is the same for all, and so are the bits that it ends with.

#include "dataset.hpp"
#include "measure.hpp"
#include "mlp.hpp"
#include "optimizer.hpp"
#include "settings.hpp"

#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace fashion_mnist;

struct arguments : settings {
  std::string ranks_as = "threads", data = "/usr/share/datasets/fashion-mnist";
  std::size_t limit = 60000;
};

// The share of the test images that the model gets right; every rank looks at some of them.
double accuracy(auto& world, mlp& model, const dataset& test) {
  const auto rank = static_cast<std::size_t>(world.rank());
  const auto size = static_cast<std::size_t>(world.size());
  std::vector<std::size_t> mine(test.size() * (rank + 1) / size - test.size() * rank / size);
  std::iota(mine.begin(), mine.end(), test.size() * rank / size);
  batch images;
  test.gather(mine, images);
  std::vector<std::uint64_t> correct{model.count_correct(images)};
  allfold::all_reduce(world, correct);
  return static_cast<double>(correct[0]) / static_cast<double>(test.size());
}

// What every rank does, by a communicator of any kind.
void train(auto& world, const arguments& given, const dataset& training, const dataset& test) {
  mlp model{given.seed};
  momentum_descent optimizer{static_cast<float>(given.rate), static_cast<float>(given.momentum),
                             model.parameters().size()};
  allfold::data_parallel<mlp, allfold::distributed<allfold::direct>> replica{model, world};
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
    }
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  const double right = accuracy(world, model, test);
  const auto hashes = world.gather(hash(model.parameters()));
  const bool same = std::ranges::all_of(hashes, [&](auto each) { return each == hashes[0]; });
  if (world.rank() == 0)
    std::printf("%d ranks as %s: test accuracy %.2f %%, %.2f s, parameters %016" PRIx64 "%s\n",
                world.size(), given.ranks_as.c_str(), 100 * right, taken.count(), hashes[0],
                same ? " on all ranks" : ", AND OTHERS ON OTHER RANKS");
  if (!same) throw std::runtime_error{"the ranks' parameters differ"};
}

void run(const arguments& given) {
  const dataset training = load(given.data, "train", given.limit);
  const dataset test = load(given.data, "t10k", given.limit);
  const auto live = [&](auto& world) { train(world, given, training, test); };
  if (given.ranks_as == "threads")
    allfold::spawn(given.ranks, live);
  else
    allfold::spawn_processes(given.ranks, live);
}

}  // namespace

int main(int count, char** values) {
  arguments given;
  CLI::App app{"Fashion-MNIST by ranks of any kind."};
  app.option_defaults()->always_capture_default();
  app.add_option("--ranks-as", given.ranks_as, "what the ranks are")
      ->check(CLI::IsMember({"threads", "processes"}));
  app.add_option("--ranks", given.ranks, "how many")->check(CLI::Range(1, 64));
  app.add_option("--epochs", given.epochs, "passes over the samples")->check(CLI::Range(1, 1000));
  app.add_option("--batch", given.batch, "samples in a step, of all ranks together")
      ->check(CLI::Range(1, 60000));
  app.add_option("--seed", given.seed, "of first parameters and of the order of samples");
  app.add_option("--limit", given.limit, "use the first samples only, to train and to test")
      ->check(CLI::Range(1, 60000));
  app.add_option("--data", given.data, "folder of the four .gz files");
  CLI11_PARSE(app, count, values);
  try {
    run(given);
    return 0;
  } catch (const missing_dataset& error) {
    std::fprintf(stderr, "fashion_mnist_launched: %s\n", error.what());
    return 77;  // what CTest and Automake take for "skipped"
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fashion_mnist_launched: %s\n", error.what());
    return 2;
  }
}
