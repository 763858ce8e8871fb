#include <allfold/launch/spawn.hpp>
#include <stdexcept>

#include "communicators.hpp"
#include "measure.hpp"
#include "worlds.hpp"

namespace bench {
namespace {

/// What one rank does.
void run_rank(threads_world& world, const settings& chosen, const std::vector<series>& all,
              const row_handler& handle) {
  const std::vector<std::size_t> sizes = chosen.sizes();
  std::size_t largest_element = 1;
  for (const series& each : all) largest_element = std::max(largest_element, size_of(each.type));
  rank_memory memory{sizes.empty() ? 0 : *std::max_element(sizes.begin(), sizes.end()),
                     chosen.unalign * largest_element};
  for (const series& each : all) {
    const auto call =
        find_call<threads_world>(each.what, each.algorithm, each.type, each.operation);
    if (call == nullptr) throw std::logic_error{"a series without a collective"};
    rank_meter<threads_world> meter{world, each, call, chosen, memory};
    for (std::size_t cycle = 0; cycle < chosen.cycles; ++cycle)
      for (const std::size_t bytes : sizes) {
        const row measured = meter.measure(bytes);
        if (world.rank() == 0) handle(measured);
        if (each.what == allfold::collective::barrier) break;  // has but one size
      }
  }
}

}  // namespace

void run_threads(const settings& chosen, const std::vector<series>& all,
                 const row_handler& handle) {
  allfold::spawn(chosen.ranks, [&](auto& world) { run_rank(world, chosen, all, handle); },
                 {.timeout = std::chrono::seconds{chosen.timeout}, .pin = chosen.pin});
}

const communicator_kind& communicator_named(std::string_view name) {
  std::string built;
  for (const communicator_kind& each : communicator_kinds) {
    if (each.name == name && each.run != nullptr) return each;
    if (each.run != nullptr) built += " " + std::string{each.name};
  }
  throw std::invalid_argument{"the communicator '" + std::string{name} +
                              "' is not built in; there is:" + built};
}

}  // namespace bench
