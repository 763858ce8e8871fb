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

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace fashion_mnist;

template <class Strategy>
std::unique_ptr<contender> make(const char* name, int ranks, const task& given) {
  return std::make_unique<contender_with<Strategy>>(name, ranks, given);
}

struct configuration {
  const char *option, *name;
  bool alone;  // one rank, whatever --ranks says
  std::unique_ptr<contender> (*make)(const char*, int, const task&);
};

using allfold::distributed;

const std::vector<configuration> configurations{
    {"one_rank", "one rank", true, &make<distributed<allfold::direct>>},
    {"primary_device", primary_name, false, &make<allfold::primary_device<>>},
    {"direct", direct_name, false, &make<distributed<allfold::direct>>},
    {"ring", "distributed<ring>", false, &make<distributed<allfold::ring>>},
    {"tree", "distributed<tree>", false, &make<distributed<allfold::tree>>},
};

struct arguments : settings {
  std::vector<std::string> strategies{"all"};
  std::string json, plot, data = "/usr/share/datasets/fashion-mnist";
  std::size_t limit = 60000;

  bool chosen(const configuration& one) const {
    return std::ranges::any_of(
        strategies, [&](const auto& name) { return name == "all" || name == one.option; });
  }
};

void declare(CLI::App& app, arguments& given) {
  app.option_defaults()->always_capture_default();
  std::vector<std::string> names{"all"};
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
  app.add_option("--data", given.data, "folder of the four .gz files");
  app.add_option("--json", given.json, "write all figures into this file");
  app.add_option("--plot", given.plot, "write a picture (PNG) into this file, by gnuplot");
  app.get_formatter()->column_width(30);
}

std::vector<outcome> train(const arguments& given, const task& task) {
  struct entry {
    const char* name;
    std::unique_ptr<contender> training;
  };
  std::vector<entry> entries;
  for (const auto& one : configurations)
    if (given.chosen(one))
      entries.push_back({one.name, one.make(one.name, one.alone ? 1 : given.ranks, task)});

  const std::size_t steps = (task.training.size() + given.batch - 1) / given.batch;
  progress_bar progress{steps * given.epochs * entries.size()};
  for (std::size_t epoch = 1; epoch <= given.epochs; ++epoch) {
    std::printf("epoch %zu of %zu\n", epoch, given.epochs);
    for (const auto& [name, training] : entries) {
      const epoch_figures& figures = training->epoch(progress);
      progress.clear();
      std::printf("  %-20s loss %.4f  test accuracy %.2f %%  %.2f s\n", name, figures.loss,
                  100 * figures.accuracy, figures.seconds);
    }
  }
  std::vector<outcome> outcomes;
  for (const auto& each : entries) outcomes.push_back(each.training->finish());
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
  const bool sound = print_findings(outcomes);
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
