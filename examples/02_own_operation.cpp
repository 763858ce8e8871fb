// Own elements and an own operation: mean and variance of samples that are spread over the ranks,
// for several features at once.
#include <allfold/allfold.hpp>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <vector>

/// Statistics of some samples. Any trivially copyable type can be an element.
struct moments {
  double count = 0;
  double mean = 0;
  double squares = 0;  ///< the sum of the squared distances from the mean

  void add(double sample) {
    const double before = sample - mean;
    count += 1;
    mean += before / count;
    squares += before * (sample - mean);
  }
  double variance() const { return squares / count; }
};

/// The statistics of two sets of samples together. Any associative functor can be an operation.
/// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
/// variances", 1979.
struct merge {
  moments operator()(const moments& a, const moments& b) const {
    const double count = a.count + b.count, apart = b.mean - a.mean;
    return {count, a.mean + apart * b.count / count,
            a.squares + b.squares + apart * apart * a.count * b.count / count};
  }
};

int main() {
  constexpr int ranks = 4, samples = 1000, features = 3;
  std::atomic<int> right{0};

  allfold::spawn(ranks, [&](auto& world) {
    std::vector<moments> statistics(features);
    for (int i = world.rank(); i < samples; i += world.size())
      for (int f = 0; f < features; ++f) statistics[static_cast<std::size_t>(f)].add(i * (f + 1));

    allfold::all_reduce(world, statistics, merge{});

    bool mine = true;
    for (int f = 0; f < features; ++f) {  // of 0, 1, …, n − 1: (n − 1) / 2 and (n² − 1) / 12
      const moments& all = statistics[static_cast<std::size_t>(f)];
      const double mean = (samples - 1) / 2.0 * (f + 1);
      const double variance = (1.0 * samples * samples - 1) / 12.0 * (f + 1) * (f + 1);
      mine = mine && all.count == samples && std::abs(all.mean / mean - 1) < 1e-12 &&
             std::abs(all.variance() / variance - 1) < 1e-12;
      if (world.rank() == 0)
        std::printf("feature %d: mean %.1f, variance %.2f\n", f, all.mean, all.variance());
    }
    right += mine;
  });
  return right == ranks ? 0 : 1;
}
