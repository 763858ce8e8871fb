// Measures and checks one row of the table. Every rank calls it.
#pragma once

#include "calls.hpp"
#include "settings.hpp"
#include "wrong.hpp"

#include <algorithm>
#include <allfold/communicator/patience.hpp>
#include <cstring>
#include <numeric>
#include <utility>

namespace bench {

/// Every rank's `mine`, by rank.
template <class T, class World>
std::vector<T> gathered(World& world, const T& mine) {
  std::vector<T> all(static_cast<std::size_t>(world.size()));
  allfold::all_gather(world, std::span<const T>{&mine, 1}, all);
  return all;
}

/// A rank's memory, enough for the largest row. The rank makes it itself, so that it lies near.
class rank_memory {
 public:
  rank_memory(std::size_t bytes, std::size_t offset)
      : offset_{offset}, input_(bytes + offset + line), output_(bytes + offset + line) {}

  std::byte* input() { return aligned(input_); }
  std::byte* output() { return aligned(output_); }
  /// Zeros: whatever they are folded with how often, they stay so, and no number overflows.
  void clear(std::size_t bytes) {
    std::fill_n(input(), bytes, std::byte{0});
    std::fill_n(output(), bytes, std::byte{0});
  }

 private:
  static constexpr std::size_t line = 64;

  std::byte* aligned(std::vector<std::byte>& memory) const {
    const auto place = reinterpret_cast<std::uintptr_t>(memory.data());
    return memory.data() + (line - place % line) % line + offset_;
  }
  std::size_t offset_;
  std::vector<std::byte> input_, output_;
};

/// One rank's part in measuring the rows of a series.
template <class World>
class rank_meter {
 public:
  rank_meter(World& world, const series& of, repeated_call<World> call, const measuring& how,
             rank_memory& memory)
      : world_{world}, of_{of}, call_{call}, how_{how}, memory_{memory} {}

  /// Every rank gets the same figures.
  row measure(std::size_t bytes) {
    const std::size_t element = of_.has_elements() ? size_of(of_.type) : 0;
    const shape counts =
        of_.has_elements() ? shape_of(of_.what, bytes, element, of_.ranks) : shape{};
    row result{of_, counts.whole() * element, counts.share, {}, {}};
    for (const bool in_place : {false, true}) {
      half_row& half = in_place ? result.in_place : result.out_of_place;
      const operands with = operands_for(counts, in_place);
      memory_.clear(result.bytes);
      half.time = time(with);
      if (how_.checks > 0) half.wrong = 0;
      for (std::uint64_t seed = 1; seed <= how_.checks && half.wrong == 0u; ++seed)
        half.wrong = check(counts, with, in_place, seed);
    }
    return result;
  }

 private:
  operands operands_for(const shape& counts, bool in_place) {
    if (!in_place) return apart(counts, memory_.input(), memory_.output(), of_.root);
    return bench::in_place(counts, size_of(of_.type), memory_.output(), world_.rank(), of_.root);
  }

  // ---- timing ----

  /// Seconds that `calls` calls take, over all ranks. They start together.
  double batch(const operands& with, std::size_t calls) {
    allfold::barrier(world_);
    const time_point begin = std::chrono::steady_clock::now();
    call_(world_, with, calls);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  double over_ranks(double mine) {
    const std::vector<double> all = gathered(world_, mine);
    switch (how_.over_ranks) {
      case combination::rank_0:
        return all.front();
      case combination::minimum:
        return *std::min_element(all.begin(), all.end());
      case combination::maximum:
        return *std::max_element(all.begin(), all.end());
      default:
        return std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
    }
  }

  /// As many calls as a batch of the wished length takes. The same on every rank.
  std::size_t calls_for(const operands& with) {
    if (how_.calls > 0) return how_.calls;
    std::size_t tried = 1;
    double seconds = over_ranks(batch(with, tried));
    while (seconds < how_.batch_seconds / 10 && tried < std::size_t{1} << 24)
      seconds = over_ranks(batch(with, tried *= 4));
    const double one = seconds / static_cast<double>(tried);
    return std::max(how_.least_calls, static_cast<std::size_t>(how_.batch_seconds / one));
  }

  timing time(const operands& with) {
    call_(world_, with, how_.warmup);
    timing result;
    result.calls = calls_for(with);
    result.batches = how_.batches;
    std::vector<double> mine;
    for (std::size_t i = 0; i < how_.batches; ++i)
      mine.push_back(batch(with, result.calls) * 1e6 / static_cast<double>(result.calls));
    std::vector<double> times;
    for (const double each : mine) times.push_back(over_ranks(each));
    std::sort(times.begin(), times.end());
    // By rank in the sorted list: the smallest time that p of all are not above.
    const auto percentile = [&](std::size_t percent) {
      return times[(times.size() * percent + 99) / 100 - 1];
    };
    result.mean =
        std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
    result.minimum = times.front();
    result.median = percentile(50);
    result.p99 = percentile(99);
    return result;
  }

  // ---- checking ----

  /// Wrong elements on all ranks together.
  std::size_t check(const shape& counts, const operands& with, bool in_place, std::uint64_t seed) {
    std::size_t wrong = 0;
    if (!of_.has_elements()) {
      wrong = check_barrier(with);
    } else if (of_.folds()) {
      const value_source exact{value_kind::exact, of_.operation, of_.ranks, seed};
      const value_source random{value_kind::random, of_.operation, of_.ranks, seed};
      const fold_plan plan = plan_of<World>(of_.what, of_.algorithm, of_.ranks, counts.share,
                                            size_of(of_.type), of_.root);
      wrong = count_wrong_folds(of_.what, carried_out(counts, with, in_place, exact), exact);
      wrong +=
          count_wrong_folds(of_.what, carried_out(counts, with, in_place, random), plan, random);
    } else {
      const value_source random{value_kind::random, redop::sum, of_.ranks, seed};
      wrong = count_wrong_moves(of_.what, carried_out(counts, with, in_place, random), random);
    }
    const std::vector<std::size_t> all = gathered(world_, wrong);
    return std::accumulate(all.begin(), all.end(), std::size_t{0});
  }

  /// The result of one call on elements made from `inputs`. What lay in the output before cannot
  /// pass for a result.
  result_view carried_out(const shape& counts, const operands& with, bool in_place,
                          const value_source& inputs) {
    const std::size_t element = size_of(of_.type);
    if (!in_place) std::memset(with.output, 0xa5, with.output_count * element);
    const bool gives = world_.rank() == of_.root || (of_.what != allfold::collective::broadcast &&
                                                     of_.what != allfold::collective::scatter);
    if (in_place && counts.whole() > 0)
      std::memset(memory_.output(), 0xa5, counts.whole() * element);
    if (gives) fill_input(of_.type, inputs, world_.rank(), with.input_count, with.input);
    call_(world_, with, 1);
    return {with.output, of_.type, world_.rank(), of_.root, counts};
  }

  /// Ranks take turns in being late.
  std::size_t check_barrier(const operands& with) {
    using namespace std::chrono_literals;
    std::size_t early = 0;
    for (int turn = 0; turn < 2 * world_.size(); ++turn) {
      const time_point begin = std::chrono::steady_clock::now();
      while (turn % world_.size() == world_.rank() &&
             std::chrono::steady_clock::now() < begin + 20us)
        allfold::relax();
      const time_point entered = std::chrono::steady_clock::now();
      call_(world_, with, 1);
      const time_point left = std::chrono::steady_clock::now();
      early += count_early(gathered(world_, entered), std::vector{left});
    }
    return early;
  }

  World& world_;
  series of_;
  repeated_call<World> call_;
  measuring how_;
  rank_memory& memory_;
};

}  // namespace bench
