// Ranks as a compression sees them, and what becomes of gradients that it combines.
#pragma once

#include "models.hpp"

#include <allfold/allfold.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace combining {

/// Threads, with gradients averaged or added by `Algorithm`.
template <class World, class Algorithm = allfold::direct>
class thread_ranks {
 public:
  thread_ranks(World& world, bool averages) : world_{world}, averages_{averages} {}

  int rank() { return world_.rank(); }
  int size() { return world_.size(); }
  bool averages() { return averages_; }
  template <class U>
  void reduce(std::span<U> data) {
    if (averages_)
      allfold::all_reduce<Algorithm>(world_, data, allfold::average{});
    else
      allfold::all_reduce<Algorithm>(world_, data);
  }
  template <class U>
  void all_gather(std::span<const U> mine, std::span<U> all) {
    allfold::all_gather(world_, mine, all);
  }

 private:
  World& world_;
  bool averages_;
};

/// One stretch of each rank.
template <class T>
using by_rank = std::vector<std::vector<T>>;

/// Gradients of all ranks in a step, different on each.
template <class T>
by_rank<T> noise_of_ranks(int ranks, std::size_t size, unsigned seed = 1) {
  by_rank<T> all;
  for (int rank = 0; rank < ranks; ++rank)
    all.push_back(models::noise<T>(size, seed + 100u * static_cast<unsigned>(rank)));
  return all;
}

/// Combines each rank's gradient as stretch `index` by its own object of `each`.
template <class Algorithm = allfold::direct, class T, class Compression>
by_rank<T> combine(by_rank<T> gradients, std::vector<Compression>& each, bool averages,
                   std::size_t index = 0) {
  allfold::spawn(static_cast<int>(gradients.size()), [&](auto& world) {
    const auto rank = static_cast<std::size_t>(world.rank());
    thread_ranks<std::remove_reference_t<decltype(world)>, Algorithm> ranks{world, averages};
    each[rank].combine(std::span{gradients[rank]}, index, ranks);
  });
  return gradients;
}

/// The same by new objects.
template <class Compression, class Algorithm = allfold::direct, class T>
by_rank<T> combine_once(by_rank<T> gradients, bool averages) {
  std::vector<Compression> each(gradients.size());
  return combine<Algorithm>(std::move(gradients), each, averages);
}

template <class T>
bool same_on_all(const by_rank<T>& all) {
  for (const auto& each : all)
    if (!models::same_bits(each, all[0])) return false;
  return true;
}

/// The ranks' sum or mean, in double.
template <class T>
std::vector<double> exactly(const by_rank<T>& all, bool averages) {
  std::vector<double> total(all[0].size());
  for (const auto& each : all)
    for (std::size_t i = 0; i < total.size(); ++i)
      total[i] += static_cast<double>(static_cast<float>(each[i]));
  if (averages)
    for (double& each : total) each /= static_cast<double>(all.size());
  return total;
}

/// |found − expected| / |expected|, by the lengths of the vectors.
template <class T>
double distance(const std::vector<T>& found, const std::vector<double>& expected) {
  double apart = 0, length = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(static_cast<float>(found[i])) - expected[i];
    apart += difference * difference;
    length += expected[i] * expected[i];
  }
  return length == 0 ? std::sqrt(apart) : std::sqrt(apart / length);
}

/// How far the mean of `steps` results is from the mean of what was combined, if every step has the
/// same gradients.
template <class Compression>
double distance_after(int steps, const by_rank<float>& gradients, bool averages) {
  std::vector<Compression> each(gradients.size());
  std::vector<double> total(gradients[0].size());
  for (int step = 0; step < steps; ++step) {
    const auto result = combine(gradients, each, averages)[0];
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += static_cast<double>(result[i]);
  }
  for (double& each_of : total) each_of /= steps;
  const std::vector<double> expected = exactly(gradients, averages);
  std::vector<float> found(total.size());
  for (std::size_t i = 0; i < total.size(); ++i) found[i] = static_cast<float>(total[i]);
  return distance(found, expected);
}

/// Stores a compression's state, or writes it back.
struct saved_state {
  std::map<std::string, std::uint64_t> numbers;
  std::map<std::string, std::vector<float>> vectors;

  template <class Compression>
  static saved_state of(Compression& it) {
    saved_state all;
    it.visit_state(
        [&](const std::string& name, auto& value) { all.place_of(name, value) = value; });
    return all;
  }
  template <class Compression>
  void restore(Compression& it) {
    it.visit_state([&](const std::string& name, auto& value) { value = place_of(name, value); });
  }

 private:
  std::uint64_t& place_of(const std::string& name, std::uint64_t) { return numbers[name]; }
  std::vector<float>& place_of(const std::string& name, const std::vector<float>&) {
    return vectors[name];
  }
};

/// Combines stretches 1 and 0, in this order, in steps [begin, end); the results of all ranks.
template <class Compression>
std::vector<by_rank<float>> run_steps(std::vector<Compression>& each, unsigned begin,
                                      unsigned end) {
  std::vector<by_rank<float>> results;
  const int ranks = static_cast<int>(each.size());
  for (unsigned step = begin; step < end; ++step) {
    results.push_back(combine(noise_of_ranks<float>(ranks, 300, step), each, true, 1));
    results.push_back(combine(noise_of_ranks<float>(ranks, 1001, step), each, true, 0));
  }
  return results;
}

/// Whether new objects with the state of three steps go on as the old ones do; if `forgets`, with
/// no state at all.
template <class Compression>
bool goes_on(int ranks, bool forgets) {
  std::vector<Compression> first(static_cast<std::size_t>(ranks)), second(first.size());
  run_steps(first, 0, 3);
  if (!forgets)
    for (std::size_t rank = 0; rank < first.size(); ++rank)
      saved_state::of(first[rank]).restore(second[rank]);
  return run_steps(first, 3, 6) == run_steps(second, 3, 6);
}

}  // namespace combining
