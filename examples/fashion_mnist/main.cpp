// Trains one model by several strategies: the same seed, the same samples in a step, other ways to
// keep the ranks equal. Shows what each costs, and that the parameters end as the same bits.

#include "contender.hpp"
#include "dataset.hpp"
#include "json.hpp"
#include "plot.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "settings.hpp"
#include "training.hpp"

#include <allfold/allfold.hpp>
#include <allfold/data_parallel/power_sgd.hpp>
#include <allfold/data_parallel/top_k.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace fashion_mnist;

using allfold::distributed, allfold::buckets;
using communicator = allfold::threads::communicator;

template <class Strategy>
std::unique_ptr<contender> make(const char* name, communicator& world, const task& given) {
  return std::make_unique<participant<Strategy>>(name, world, given);
}

enum class kind {
  alone,  // one rank, whatever --ranks says
  exact,
  compressed
};

struct configuration {
  const char *option, *name;
  kind how;
  std::unique_ptr<contender> (*make)(const char*, communicator&, const task&);
};

template <class Compression, class Buckets = buckets<>>
constexpr auto make_compressed = &make<distributed<allfold::direct, Buckets, Compression>>;

// Each gradient by itself and in its own shape, in which it has a low rank.
using by_tensor = buckets<1, 1>;
using low_rank = allfold::power_sgd<4, allfold::power_sgd_options{.start_step = 100}, mlp_columns>;

const std::vector<configuration> configurations{
    {"one_rank", "one rank", kind::alone, &make<distributed<allfold::direct>>},
    {"primary_device", primary_name, kind::exact, &make<allfold::primary_device<>>},
    {"direct", direct_name, kind::exact, &make<distributed<allfold::direct>>},
    {"ring", "distributed<ring>", kind::exact, &make<distributed<allfold::ring>>},
    {"tree", "distributed<tree>", kind::exact, &make<distributed<allfold::tree>>},
    {"bfloat16", "wire<bfloat16>", kind::compressed,
     make_compressed<allfold::wire<allfold::bfloat16>>},
    {"power_sgd", "power_sgd<4>", kind::compressed, make_compressed<low_rank, by_tensor>},
    {"top_k", "top_k<10>", kind::compressed, make_compressed<allfold::top_k<10>>},
    {"local_sgd", "local_sgd<8, 50>", kind::compressed,
     &make<allfold::local_sgd<8, 50, distributed<allfold::direct>>>},
};

struct arguments : settings {
  std::vector<std::string> strategies{"all"};
  std::string json, plot, data = "/usr/share/datasets/fashion-mnist";
  std::size_t limit = 60000;
  demands asked;

  bool chosen(const configuration& one) const {
    const bool compressed = one.how == kind::compressed;
    return std::ranges::any_of(strategies, [&](const std::string& name) {
      if (name == "all") return !compressed;
      if (name == "compressed") return compressed || one.name == std::string_view{direct_name};
      return name == one.option;
    });
  }
};

void declare(CLI::App& app, arguments& given) {
  app.option_defaults()->always_capture_default();
  std::vector<std::string> names{"all", "compressed"};
  for (const auto& one : configurations) names.emplace_back(one.option);
  app.add_option("--ranks", given.ranks, "threads that train together")->check(CLI::Range(1, 64));
  app.add_option("--epochs", given.epochs, "passes over the samples")->check(CLI::Range(1, 1000));
  app.add_option("--strategy", given.strategies, "one or several")->check(CLI::IsMember(names));
  app.add_option("--batch", given.batch, "samples in a step, of all ranks together")
      ->check(CLI::Range(1, 60000));
  app.add_option("--rate", given.rate, "learning rate at the first step; falls to 0")
      ->check(CLI::PositiveNumber);
  app.add_option("--momentum", given.momentum, "of the gradient descent")
      ->check(CLI::Range(0.0, 0.999));
  app.add_option("--seed", given.seed, "of first parameters and of the order of samples");
  app.add_option("--limit", given.limit, "use the first samples only, to train and to test")
      ->check(CLI::Range(1, 60000));
  app.add_option("--at-least", given.asked.at_least,
                 "fail if a test accuracy is below, in per cent")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--within", given.asked.within,
                 "fail if a compression's is further from distributed<direct>'s, in points")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--data", given.data, "folder of the four .gz files");
  app.add_option("--json", given.json, "write all figures into this file");
  app.add_option("--plot", given.plot, "write a picture (PNG) into this file, by gnuplot");
  app.get_formatter()->column_width(30);
}

struct entrant {
  const char* name;
  std::unique_ptr<contender> training;  // null on a rank that does not take part
};

// Called by every rank.
std::vector<entrant> make_entrants(const arguments& given, const task& task, communicator& world,
                                   communicator& alone) {
  std::vector<entrant> all;
  for (const auto& one : configurations) {
    if (!given.chosen(one)) continue;
    communicator& own = one.how == kind::alone ? alone : world;
    const bool takes_part = one.how != kind::alone || world.rank() == 0;
    all.push_back({one.name, takes_part ? one.make(one.name, own, task) : nullptr});
  }
  return all;
}

void print_epoch(const char* name, const epoch_figures& figures, const progress_bar& progress) {
  progress.clear();
  std::printf("  %-20s loss %.4f  test accuracy %.2f %%  %.2f s\n", name, figures.loss,
              100 * figures.accuracy, figures.seconds);
}

// Called by every rank; the outcomes are rank 0's.
std::vector<outcome> train(const arguments& given, const task& task, communicator& world) {
  communicator alone = world.split(world.rank());
  const std::vector<entrant> entrants = make_entrants(given, task, world, alone);
  const std::size_t steps = (task.training.size() + given.batch - 1) / given.batch;
  progress_bar progress{steps * given.epochs * entrants.size()};  // rank 0's moves
  for (std::size_t epoch = 0; epoch < given.epochs; ++epoch) {
    if (world.rank() == 0) std::printf("epoch %zu of %zu\n", epoch + 1, given.epochs);
    for (const auto& [name, training] : entrants) {
      if (training) {
        const epoch_figures figures = training->epoch(epoch, progress);
        if (world.rank() == 0) print_epoch(name, figures, progress);
      }
      allfold::barrier(world);  // whose turn it is not waits, and does nothing else
    }
  }
  std::vector<outcome> outcomes;
  for (const auto& each : entrants)
    if (each.training) outcomes.push_back(each.training->finish());
  return outcomes;
}

std::vector<outcome> train(const arguments& given, const task& task) {
  std::vector<outcome> outcomes;
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  allfold::spawn(given.ranks,
                 [&](communicator& world) {
                   auto mine = train(given, task, world);
                   if (world.rank() == 0) outcomes = std::move(mine);
                 },
                 // They wait for as long as one rank alone takes for an epoch.
                 {.timeout = std::chrono::hours{10}, .pin = given.ranks <= cores});
  return outcomes;
}

int run(const arguments& given) {
  const dataset training = load(given.data, "train", given.limit);
  const dataset test = load(given.data, "t10k", given.limit);
  const machine here;
  std::printf("%s, %u cores, %s\n", here.processor.c_str(), here.cores, here.compiler.c_str());
  std::printf("%zu training images, %zu test images; 784-512-256-10\n", training.size(),
              test.size());
  std::printf("%d ranks, %zu images in a step of all ranks together\n\n", given.ranks, given.batch);

  const std::vector<outcome> outcomes = train(given, {given, training, test});
  print_table(outcomes);
  const bool sound = print_findings(outcomes, given.asked);
  if (!given.json.empty()) write_json(given.json, here, given, outcomes);
  if (!given.plot.empty()) write_plot(given.plot, outcomes);
  return sound ? 0 : 1;
}

}  // namespace

int main(int count, char** values) {
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 14);  // lines in time, though in a pipe
  arguments given;
  CLI::App app{"Fashion-MNIST by data-parallel training: one model, several strategies."};
  declare(app, given);
  CLI11_PARSE(app, count, values);
  try {
    if (given.batch % static_cast<std::size_t>(given.ranks) != 0)
      throw std::invalid_argument{"--batch must be a multiple of --ranks: equal shares"};
    return run(given);
  } catch (const missing_dataset& error) {
    std::fprintf(stderr, "fashion_mnist: %s\n", error.what());
    return 77;  // what CTest and Automake take for "skipped"
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fashion_mnist: %s\n", error.what());
    return 2;
  }
}
