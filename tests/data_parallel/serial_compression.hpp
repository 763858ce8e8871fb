// What folds and compressions make of all ranks' gradients, in one process and in plain words.
#pragma once

#include "training.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/reference.hpp"

namespace training {

/// One array of each rank.
template <class T>
using by_rank = std::vector<std::vector<T>>;

/// The mean or sum of all ranks' arrays, folded as `Algorithm` declares.
template <class Algorithm, class T>
std::vector<T> folded(const by_rank<T>& all, bool averages) {
  const int ranks = static_cast<int>(all.size());
  static std::map<std::pair<int, std::size_t>, test::fold_plan> plans;
  const std::pair key{ranks, all[0].size()};
  if (!plans.contains(key))
    plans.emplace(key, test::even_plan<allfold::threads::communicator>(
                           Algorithm{}, ranks, all[0].size(), test::kind_of_element<T>));
  const test::fold_plan& plan = plans.at(key);
  std::vector<const T*> inputs;
  for (const auto& each : all) inputs.push_back(each.data());
  const test::bytes before(all[0].size() * sizeof(T));
  const test::bytes result = averages ? test::folded<T, allfold::average>(plan, 0, inputs, before)
                                      : test::folded<T, allfold::sum>(plan, 0, inputs, before);
  std::vector<T> values(all[0].size());
  if (!values.empty()) std::memcpy(values.data(), result.data(), result.size());
  return values;
}

/// How an algorithm folds the types that gradients are sent in.
struct folds {
  std::vector<float> (*single)(const by_rank<float>&, bool averages);
  std::vector<allfold::bfloat16> (*brain)(const by_rank<allfold::bfloat16>&, bool averages);
  std::vector<allfold::half> (*half)(const by_rank<allfold::half>&, bool averages);
};
template <class Algorithm>
constexpr folds folds_of{&folded<Algorithm, float>, &folded<Algorithm, allfold::bfloat16>,
                         &folded<Algorithm, allfold::half>};

/// A strategy, as far as one process must know it.
struct rules {
  folds fold;
  int root = -1;  ///< who alone steps; -1: everybody
  bool compresses = false;
  int every = 0, from = 0;  ///< of local_sgd; 0: it is none
};

/// Combines tensor `index` of all ranks; remembers what a compression does.
using combining =
    std::function<std::vector<float>(std::size_t index, by_rank<float> all, bool averages)>;

/// Residuals by tensor and rank; zeros where there are none yet.
class residuals {
 public:
  std::vector<float>& of(std::size_t index, std::size_t rank, std::size_t size) {
    std::vector<float>& found = all_[{index, rank}];
    found.resize(size);
    return found;
  }

 private:
  std::map<std::pair<std::size_t, std::size_t>, std::vector<float>> all_;
};

template <class Narrow>
combining narrowing(std::vector<Narrow> (*fold)(const by_rank<Narrow>&, bool), bool feedback) {
  return [=, kept = residuals{}](std::size_t index, by_rank<float> all, bool averages) mutable {
    by_rank<Narrow> sent(all.size());
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
      std::vector<float>& rest = kept.of(index, rank, all[rank].size());
      for (std::size_t k = 0; k < rest.size(); ++k) {
        const float own = all[rank][k] + rest[k];
        sent[rank].push_back(static_cast<Narrow>(own));
        rest[k] = feedback ? own - static_cast<float>(sent[rank][k]) : 0.0f;
      }
    }
    std::vector<float> result;
    for (const Narrow each : fold(sent, averages)) result.push_back(static_cast<float>(each));
    return result;
  };
}

/// The tenth of the elements that is largest, added up in rank order; few elements are folded.
inline combining selecting(const folds& fold, bool feedback) {
  return [=, kept = residuals{}](std::size_t index, by_rank<float> all, bool averages) mutable {
    const std::size_t size = all[0].size(), count = (size + 9) / 10;
    if (2 * count >= size) return fold.single(all, averages);
    std::vector<float> total(size);
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
      std::vector<float>& rest = kept.of(index, rank, size);
      for (std::size_t k = 0; k < size; ++k) rest[k] += all[rank][k];
      std::vector<std::size_t> order(size);
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return std::abs(rest[a]) > std::abs(rest[b]);
      });
      for (std::size_t k = 0; k < count; ++k) total[order[k]] += std::exchange(rest[order[k]], 0.f);
      if (!feedback) std::fill(rest.begin(), rest.end(), 0.0f);
    }
    if (averages)
      for (float& each : total) each /= static_cast<float>(all.size());
    return total;
  };
}

/// Makes the two vectors of `length`, one behind the other, unit vectors at right angles.
inline void orthonormalize(std::vector<double>& pair, std::size_t length) {
  const auto product = [&](std::size_t a, std::size_t b) {
    double total = 0;
    for (std::size_t i = 0; i < length; ++i) total += pair[a * length + i] * pair[b * length + i];
    return total;
  };
  for (std::size_t k = 0; k < 2; ++k) {
    const double along = k == 0 ? 0 : product(0, 1);
    for (std::size_t i = 0; i < length; ++i) pair[k * length + i] -= along * pair[i];
    const double size = std::sqrt(product(k, k));
    for (std::size_t i = 0; i < length; ++i) pair[k * length + i] /= size;
  }
}

/// PowerSGD with two columns from the second step on, in double: of one square tensor, from the `q`
/// that is given.
inline combining approximating(const folds& fold, std::vector<double> q) {
  using doubles = std::vector<double>;
  return
      [=, left = by_rank<double>{}](std::size_t, const by_rank<float>& all, bool averages) mutable {
        const std::size_t n = q.size() / 2, ranks = all.size();
        if (left.empty()) {
          left.resize(ranks, doubles(n * n));
          return fold.single(all, averages);
        }
        orthonormalize(q, n);
        doubles p(2 * n), next(2 * n);
        by_rank<double> own(ranks, next);
        const auto each_term = [n](auto work) {  // work(place, row of P, row of Q)
          for (std::size_t k = 0; k < 2 * n * n; ++k)
            work(k % (n * n), k / (n * n) * n + k % (n * n) / n, k / (n * n) * n + k % n);
        };
        for (std::size_t rank = 0; rank < ranks; ++rank) {
          for (std::size_t k = 0; k < n * n; ++k)
            left[rank][k] += static_cast<double>(all[rank][k]);
          each_term([&](auto k, auto row, auto column) { p[row] += left[rank][k] * q[column]; });
        }
        orthonormalize(p, n);
        for (std::size_t rank = 0; rank < ranks; ++rank)
          each_term([&](auto k, auto row, auto column) {
            own[rank][column] += left[rank][k] * p[row];
            next[column] += left[rank][k] * p[row] / (averages ? static_cast<double>(ranks) : 1.0);
          });
        doubles result(n * n);
        each_term([&](auto k, auto row, auto column) {
          result[k] += p[row] * next[column];
          for (std::size_t rank = 0; rank < ranks; ++rank)
            left[rank][k] -= p[row] * own[rank][column];
        });
        q = next;
        return std::vector<float>(result.begin(), result.end());
      };
}
/// The Q that a power_sgd was given to begin with.
template <class Power>
std::vector<double> first_q(Power it) {
  std::vector<double> found;
  it.visit_state([&](const std::string& name, auto& value) {
    if constexpr (!std::is_integral_v<std::remove_reference_t<decltype(value)>>)
      if (name == "0.q") found.assign(value.begin(), value.end());
  });
  return found;
}

inline combining combining_of(const rules& how, const task& what) {
  if (how.compresses) switch (what.compression.index()) {
      case 0:
        return narrowing<allfold::bfloat16>(how.fold.brain, false);
      case 1:
        return narrowing<allfold::half>(how.fold.half, true);
      case 2:
      case 3:
        return selecting(how.fold, what.compression.index() == 2);
      default:
        return approximating(how.fold, first_q(std::get<4>(what.compression)));
    }
  return [fold = how.fold.single](std::size_t, const by_rank<float>& all, bool averages) {
    return fold(all, averages);
  };
}

}  // namespace training
