#include "json.hpp"

#include "report.hpp"

#include <nlohmann/json.hpp>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <stdexcept>

namespace fashion_mnist {
namespace {

using json = nlohmann::ordered_json;

json of(const rank_figures& rank) {
  char hash[17];  // as text: a 64-bit number does not survive a reader that knows doubles only
  std::snprintf(hash, sizeof hash, "%016" PRIx64, rank.hash);
  return {{"computation_ms", rank.computation_ms},
          {"communication_ms", rank.communication_ms},
          {"bytes_read_per_step", rank.bytes_read},
          {"bytes_written_per_step", rank.bytes_written},
          {"bytes_sent_per_step", rank.bytes_sent},
          {"memory_bytes",
           {{"parameters", rank.parameter_bytes},
            {"gradients", rank.gradient_bytes},
            {"optimizer", rank.optimizer_bytes},
            {"library", rank.kept_bytes},
            {"total", rank.memory()}}},
          {"parameters_fnv1a64", hash}};
}

json of(const outcome& run, std::span<const outcome> outcomes) {
  json result{{"strategy", run.name},
              {"steps", run.steps},
              {"step_ms_median", run.step_ms},
              {"test_accuracy", run.accuracy()},
              {"ranks_hold_the_same_bits", run.ranks_agree()},
              {"sent_of_uncompressed", run.share_sent()}};
  if (const auto points = points_above_direct(run, outcomes)) {
    result["points_above_direct"] = *points;
    result["within_one_point_of_direct"] = within_one_point(*points);
  }
  for (const auto& rank : run.ranks) result["ranks"].push_back(of(rank));
  for (const auto& epoch : run.epochs)
    result["epochs"].push_back(
        {{"loss", epoch.loss}, {"test_accuracy", epoch.accuracy}, {"seconds", epoch.seconds}});
  return result;
}

}  // namespace

void write_json(const std::filesystem::path& path, const machine& here, const settings& chosen,
                std::span<const outcome> outcomes) {
  json all{{"machine",
            {{"processor", here.processor}, {"cores", here.cores}, {"compiler", here.compiler}}},
           {"settings",
            {{"ranks", chosen.ranks},
             {"epochs", chosen.epochs},
             {"batch", chosen.batch},
             {"rate", chosen.rate},
             {"momentum", chosen.momentum},
             {"seed", chosen.seed}}}};
  for (const outcome& run : outcomes) all["strategies"].push_back(of(run, outcomes));

  std::ofstream file{path};
  file << all.dump(2) << '\n';
  file.close();
  if (!file) throw std::runtime_error{"cannot write " + path.string()};
}

}  // namespace fashion_mnist
