// Trains a model that is written with Thrust on Fashion-MNIST, with as many ranks as you like: by
// g++ on the processor, where a rank is a thread, or by nvcc (train.cu) on one GPU that all ranks
// share. All that differs is in matrix.hpp. The same hyperparameters as examples/fashion_mnist.

#include "dataset.hpp"
#include "machine.hpp"
#include "matrix.hpp"
#include "measure.hpp"
#include "perceptron.hpp"
#include "settings.hpp"

#include <thrust/copy.h>
#include <thrust/reduce.h>
#include <thrust/sequence.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace {

using namespace thrust_example;
using fashion_mnist::classes;
using fashion_mnist::pixels;

struct arguments : fashion_mnist::settings {
  std::string strategy = "direct", data = "/usr/share/datasets/fashion-mnist";
  std::size_t limit = 60000;
  double at_least = 0;  // per cent of the test images
};

/// A data set in the memory of Thrust's device system, read by all ranks.
struct device_data {
  explicit device_data(const fashion_mnist::dataset& from)
      : images(from.images.begin(), from.images.end()),
        labels(from.labels.begin(), from.labels.end()) {}

  std::size_t size() const { return labels.size(); }

  thrust::device_vector<std::uint8_t> images;  // size() times `pixels`
  thrust::device_vector<std::uint8_t> labels;
};

/// Pixel i of the chosen images, normalised to mean 0 and deviation 1.
struct normalised_pixel {
  const std::uint8_t* images;
  const std::size_t* chosen;

  ALLFOLD_HOST_DEVICE float operator()(std::size_t i) const {
    constexpr float mean = 0.2860f, deviation = 0.3530f;  // of the 60 000 training images
    constexpr float scale = 1.0f / (255.0f * deviation), shift = -mean / deviation;
    return static_cast<float>(images[chosen[i / pixels] * pixels + i % pixels]) * scale + shift;
  }
};
/// The label of the i-th chosen image.
struct chosen_label {
  const std::uint8_t* labels;
  const std::size_t* chosen;

  ALLFOLD_HOST_DEVICE std::uint8_t operator()(std::size_t i) const { return labels[chosen[i]]; }
};

/// Gathers samples of a data set, up to `most` at a time.
class gatherer {
 public:
  gatherer(const engine& on, std::size_t most) : on_{on}, images_(most * pixels), labels_(most) {}

  /// The `count` samples whose numbers lie from `chosen` on. Valid until the next call.
  samples operator()(const device_data& data, const std::size_t* chosen, std::size_t count) {
    const auto first = thrust::make_counting_iterator<std::size_t>(0);
    thrust::transform(on_.policy(), first, first + static_cast<std::ptrdiff_t>(count * pixels),
                      images_.begin(),
                      normalised_pixel{thrust::raw_pointer_cast(data.images.data()), chosen});
    thrust::transform(on_.policy(), first, first + static_cast<std::ptrdiff_t>(count),
                      labels_.begin(),
                      chosen_label{thrust::raw_pointer_cast(data.labels.data()), chosen});
    return {
        {thrust::raw_pointer_cast(images_.data()), static_cast<int>(pixels),
         static_cast<int>(count)},
        thrust::raw_pointer_cast(labels_.data()),
    };
  }

 private:
  const engine& on_;
  thrust::device_vector<float> images_;
  thrust::device_vector<std::uint8_t> labels_;
};

/// What came of an epoch: the mean loss, the share of test images that are right, and the time of
/// the steps alone.
struct epoch_figures {
  double loss, accuracy, seconds;
};

/// One rank's part of a training.
class participant {
 public:
  participant(world& ranks, const arguments& chosen, const device_data& training,
              const device_data& test)
      : world_{ranks}, chosen_{chosen}, training_{training}, test_{test} {}

  /// Every rank calls it. `report(epoch, figures)` is called after each epoch.
  template <class Strategy, class Report>
  void train(Report report) {
    allfold::data_parallel<perceptron, Strategy> replica{model_, world_};
    for (std::size_t epoch = 0; epoch < chosen_.epochs; ++epoch) {
      const auto begin = std::chrono::steady_clock::now();
      const double loss = run_epoch(replica, epoch);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
      report(epoch, epoch_figures{loss, accuracy(), taken.count()});
    }
  }

  /// FNV-1a of all bytes of the parameters.
  std::uint64_t hash() {
    on_.finish();
    std::vector<std::vector<float>> all;
    for (const auto& each : model_.parameters()) {
      const thrust::device_ptr<float> first{each.data()};
      all.emplace_back(each.size());
      thrust::copy(first, first + static_cast<std::ptrdiff_t>(each.size()), all.back().begin());
    }
    return fashion_mnist::hash(all);
  }

 private:
  static constexpr std::size_t most_tested_at_once = 500;

  std::size_t share() const { return chosen_.batch / static_cast<std::size_t>(world_.size()); }

  /// The mean loss of all ranks' samples.
  double run_epoch(auto& replica, std::size_t epoch) {
    const allfold::distributed_sampler sampler{
        training_.size(), world_, {.seed = chosen_.seed, .shuffle = true}};
    const std::vector<std::size_t> order = sampler.indices(epoch);
    const thrust::device_vector<std::size_t> chosen(order.begin(), order.end());
    thrust::device_vector<float> losses(order.size());
    const std::size_t steps = (order.size() + share() - 1) / share();
    for (std::size_t step = 0; step < steps; ++step) {
      const std::size_t first = step * share();
      // Falls to 0 in a straight line: fast at first, and steady at the end.
      const double done =
          static_cast<double>(epoch * steps + step) / static_cast<double>(chosen_.epochs * steps);
      optimizer_.rate = static_cast<float>(chosen_.rate * (1.0 - done));
      const samples batch = gather_(training_, thrust::raw_pointer_cast(chosen.data()) + first,
                                    std::min(share(), order.size() - first));
      float* const its_losses = thrust::raw_pointer_cast(losses.data()) + first;
      replica.backward([&](auto&& ready) { model_.backward(batch, its_losses, ready); });
      replica.step(optimizer_);
    }
    const float own = thrust::reduce(on_.policy(), losses.begin(), losses.end());
    return total_of(own) / static_cast<double>(order.size() * ranks());
  }

  /// The share of the test images that the model gets right; every rank looks at some of them.
  double accuracy() {
    const std::size_t rank = static_cast<std::size_t>(world_.rank());
    const std::size_t begin = test_.size() * rank / ranks();
    const std::size_t end = test_.size() * (rank + 1) / ranks();
    thrust::device_vector<std::size_t> mine(end - begin);
    thrust::sequence(mine.begin(), mine.end(), begin);
    std::size_t right = 0;
    for (std::size_t done = 0; done < mine.size(); done += most_tested_at_once)
      right += model_.count_right(gather_(test_, thrust::raw_pointer_cast(mine.data()) + done,
                                          std::min(most_tested_at_once, mine.size() - done)));
    return total_of(static_cast<double>(right)) / static_cast<double>(test_.size());
  }

  std::size_t ranks() const { return static_cast<std::size_t>(world_.size()); }
  /// The sum over all ranks: a thrust::device_vector is an operand like any other.
  double total_of(double mine) {
    thrust::device_vector<double> number(1, mine);
    allfold::all_reduce(world_, number);
    on_.finish();
    double sum = 0;
    thrust::copy(number.begin(), number.end(), &sum);
    return sum;
  }

  world& world_;
  const arguments& chosen_;
  const device_data &training_, &test_;
  engine on_{world_};
  gatherer gather_{on_, std::max(share(), most_tested_at_once)};
  perceptron model_{on_, chosen_.seed, static_cast<int>(std::max(share(), most_tested_at_once))};
  momentum_descent optimizer_{on_, static_cast<float>(chosen_.momentum)};
};

void print(std::size_t epoch, const epoch_figures& figures) {
  std::printf("  epoch %zu  loss %.4f  test accuracy %.2f %%  %.2f s\n", epoch + 1, figures.loss,
              100 * figures.accuracy, figures.seconds);
}

/// What a training ends with: the share of test images that are right, and the parameters' hash by
/// rank.
struct trained {
  double accuracy;
  std::vector<std::uint64_t> hashes;
};

template <class Strategy>
trained train(const arguments& given, const device_data& training, const device_data& test) {
  trained made{0, std::vector<std::uint64_t>(static_cast<std::size_t>(given.ranks))};
  spawn(given.ranks, [&](world& ranks) {
    participant mine{ranks, given, training, test};
    mine.train<Strategy>([&](std::size_t epoch, const epoch_figures& figures) {
      if (ranks.rank() != 0) return;
      print(epoch, figures);
      made.accuracy = figures.accuracy;
    });
    made.hashes[static_cast<std::size_t>(ranks.rank())] = mine.hash();
  });
  return made;
}

struct strategy {
  const char *option, *name;
  trained (*train)(const arguments&, const device_data&, const device_data&);
};

const std::vector<strategy> strategies{
    {"direct", "distributed<direct>", &train<allfold::distributed<allfold::direct>>},
    {"primary_device", "primary_device<0>", &train<allfold::primary_device<>>},
    {"ring", "distributed<ring>", &train<allfold::distributed<allfold::ring>>},
};

void declare(CLI::App& app, arguments& given) {
  app.option_defaults()->always_capture_default();
  std::vector<std::string> names{"all"};
  for (const auto& one : strategies) names.emplace_back(one.option);
  app.add_option("--ranks", given.ranks, "that train together")->check(CLI::Range(1, 16));
  app.add_option("--epochs", given.epochs, "passes over the samples")->check(CLI::Range(1, 1000));
  app.add_option("--strategy", given.strategy, "one of them, or all")->check(CLI::IsMember(names));
  app.add_option("--batch", given.batch, "samples in a step, of all ranks together")
      ->check(CLI::Range(1, 60000));
  app.add_option("--rate", given.rate, "learning rate at the first step; falls to 0")
      ->check(CLI::PositiveNumber);
  app.add_option("--momentum", given.momentum, "of the gradient descent")
      ->check(CLI::Range(0.0, 0.999));
  app.add_option("--seed", given.seed, "of first parameters and of the order of samples");
  app.add_option("--limit", given.limit, "use the first samples only, to train and to test")
      ->check(CLI::Range(1, 60000));
  app.add_option("--data", given.data, "folder of the four .gz files");
  app.add_option("--at-least", given.at_least, "fail below so many per cent of the test images")
      ->check(CLI::Range(0.0, 100.0));
}

/// Whether each strategy's ranks, and the two strategies that fold in rank order, agree; and
/// whether enough test images are right.
bool run(const arguments& given) {
  const std::string device = name_of_device();
  const fashion_mnist::dataset training = fashion_mnist::load(given.data, "train", given.limit);
  const fashion_mnist::dataset test = fashion_mnist::load(given.data, "t10k", given.limit);
  const fashion_mnist::machine here;
  std::printf("%s; %s\n", here.processor.c_str(), device.c_str());
  std::printf("%zu training images, %zu test images; 784-512-256-10; %d ranks, %zu images a step\n",
              training.size(), test.size(), given.ranks, given.batch);

  const device_data on_device{training}, tested_on_device{test};
  bool sound = true;
  std::vector<std::uint64_t> in_rank_order;
  for (const strategy& one : strategies) {
    if (given.strategy != "all" && given.strategy != one.option) continue;
    std::printf("%s\n", one.name);
    const auto [accuracy, hashes] = one.train(given, on_device, tested_on_device);
    const bool agree = std::ranges::all_of(hashes, [&](auto hash) { return hash == hashes[0]; });
    std::printf("  parameters (FNV-1a 64) %016" PRIx64 "%s\n", hashes[0],
                agree ? ", the same on all ranks" : ", but OTHER BITS ON OTHER RANKS");
    const bool good = 100 * accuracy >= given.at_least;
    if (!good) std::printf("  TOO FEW test images are right: below %.2f %%\n", given.at_least);
    sound = sound && agree && good;
    if (one.option != std::string{"ring"}) in_rank_order.push_back(hashes[0]);
  }
  if (in_rank_order.size() == 2 && in_rank_order[0] != in_rank_order[1]) {
    std::puts("distributed<direct> and primary_device<0> trained to DIFFERENT BITS");
    sound = false;
  }
  return sound;
}

/// What CTest and Automake take for "skipped".
int skip(const std::exception& why) {
  std::fprintf(stderr, "skipped: %s\n", why.what());
  return 77;
}

}  // namespace

int main(int count, char** values) {
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 14);  // lines in time, though in a pipe
  arguments given;
  CLI::App app{"Fashion-MNIST by a model written with Thrust, trained data-parallel."};
  declare(app, given);
  CLI11_PARSE(app, count, values);
  try {
    if (given.batch % static_cast<std::size_t>(given.ranks) != 0)
      throw std::invalid_argument{"--batch must be a multiple of --ranks: equal shares"};
    return run(given) ? 0 : 1;
  } catch (const fashion_mnist::missing_dataset& error) {
    return skip(error);
  } catch (const missing_device& error) {
    return skip(error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", values[0], error.what());
    return 2;
  }
}
