// What the tests do on the GPU besides collectives.
#pragma once

#include <thrust/copy.h>
#include <thrust/device_vector.h>
#include <thrust/execution_policy.h>
#include <thrust/functional.h>
#include <thrust/sequence.h>
#include <thrust/transform.h>

#include <allfold/adapt/thrust.cuh>
#include <allfold/allfold.hpp>
#include <string>
#include <vector>

#include "support/failures.hpp"
#include "support/world.hpp"

namespace on_device {

using numbers = thrust::device_vector<unsigned>;

/// For Thrust's algorithms, in the order of a rank's collectives. Those that return nothing don't
/// wait.
inline auto on(const test::world& ranks) { return thrust::cuda::par_nosync.on(ranks.stream()); }

/// The elements, once all that the rank has called is complete.
template <class T>
std::vector<T> fetched(test::world& ranks, const thrust::device_vector<T>& elements) {
  ranks.synchronize();
  std::vector<T> values(elements.size());
  thrust::copy(elements.begin(), elements.end(), values.begin());
  return values;
}

/// Notes the first element that is another than `expected(i)`.
template <class T, class Expected>
void expect(const std::vector<T>& found, Expected expected, const std::string& what,
            test::failures& list) {
  for (std::size_t i = 0; i < found.size(); ++i)
    if (found[i] != expected(i)) {
      list.add(what + ": element " + std::to_string(i) + " is " + std::to_string(found[i]) +
               " instead of " + std::to_string(expected(i)));
      return;
    }
}

struct add_one {
  ALLFOLD_HOST_DEVICE unsigned operator()(unsigned value) const { return value + 1; }
};

/// Numbers that grow by 1 on every rank in each step, are summed over the ranks, and the sums added
/// up: of any mistake in the order of steps something remains. All arithmetic is modulo 2^32.
class tally {
 public:
  tally(const test::world& ranks, std::size_t count)
      : size_{static_cast<unsigned>(ranks.size())},
        rank_{static_cast<unsigned>(ranks.rank())},
        mine_(count),
        sums_(count),
        total_(count) {
    thrust::sequence(mine_.begin(), mine_.end(), rank_);
  }

  /// Gives one step to the rank's stream.
  template <class Algorithm>
  void give(test::world& ranks) {
    thrust::transform(on(ranks), mine_.begin(), mine_.end(), mine_.begin(), add_one{});
    allfold::all_reduce<Algorithm>(ranks, static_cast<const numbers&>(mine_), sums_);
    thrust::transform(on(ranks), total_.begin(), total_.end(), sums_.begin(), total_.begin(),
                      thrust::plus<unsigned>{});
  }
  /// Checks the total after so many steps.
  void check(test::world& ranks, unsigned steps, const std::string& what, test::failures& list) {
    const auto sum_to = [](unsigned n) {
      return static_cast<unsigned>(static_cast<unsigned long long>(n) * (n + 1) / 2);
    };
    expect(
        fetched(ranks, total_),
        [&](std::size_t i) {
          const unsigned first = size_ * static_cast<unsigned>(i) + sum_to(size_ - 1);
          return steps * first + size_ * sum_to(steps);
        },
        what + ", " + std::to_string(size_) + " ranks, rank " + std::to_string(rank_), list);
  }

 private:
  unsigned size_, rank_;
  numbers mine_, sums_, total_;
};

}  // namespace on_device
