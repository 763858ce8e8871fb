#include "json.hpp"

#include <allfold/config.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace bench {
namespace {

using json = nlohmann::ordered_json;

json of(const row& it, const half_row& half) {
  json made{{"time_us", half.time.mean},
            {"algbw_gb_per_s", algorithm_bandwidth(it, half.time.mean)},
            {"busbw_gb_per_s", bus_bandwidth(it, half.time.mean)},
            {"wrong", half.wrong ? json(*half.wrong) : json(nullptr)},
            {"calls", half.time.calls},
            {"batches", half.time.batches}};
  if (half.time.batches > 1) {
    made["minimum_us"] = half.time.minimum;
    made["median_us"] = half.time.median;
    made["p99_us"] = half.time.p99;
  }
  return made;
}

json of(const row& it) {
  return {{"collective", allfold::name_of(it.of.what)},
          {"algorithm", it.of.algorithm},
          {"ranks", it.of.ranks},
          {"bytes", it.bytes},
          {"count", it.count},
          {"type", it.of.type_name()},
          {"redop", it.of.operation_name()},
          {"root", it.of.shown_root()},
          {"out_of_place", of(it, it.out_of_place)},
          {"in_place", of(it, it.in_place)}};
}

}  // namespace

void write_json(const settings& chosen, const machine& here, std::span<const row> rows) {
  constexpr const char* combinations[] = {"rank 0", "mean", "minimum", "maximum"};
  std::size_t wrong = 0;
  for (const row& each : rows) wrong += wrong_in(each);
  json all{{"allfold", std::to_string(ALLFOLD_VERSION_MAJOR) + "." +
                           std::to_string(ALLFOLD_VERSION_MINOR) + "." +
                           std::to_string(ALLFOLD_VERSION_PATCH)},
           {"machine",
            {{"host", here.host},
             {"processor", here.processor},
             {"cores", here.cores},
             {"compiler", here.compiler}}},
           {"settings",
            {{"communicator", chosen.communicator},
             {"ranks", chosen.ranks},
             {"pinned", chosen.pin},
             {"warmup_calls", chosen.warmup},
             {"over_ranks", combinations[static_cast<int>(chosen.over_ranks)]},
             {"checks", chosen.checks},
             {"unaligned_by_elements", chosen.unalign}}},
           {"wrong", wrong},
           {"rows", json::array()}};
  for (const row& each : rows) all["rows"].push_back(of(each));

  std::ofstream file{chosen.json};
  file << all.dump(2) << '\n';
  file.close();
  if (!file) throw std::runtime_error{"cannot write " + chosen.json};
}

}  // namespace bench
