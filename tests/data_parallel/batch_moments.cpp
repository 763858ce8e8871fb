// Batch normalisation over ranks, against PyTorch's over the whole batch.
#include <allfold/allfold.hpp>
#include <allfold/data_parallel/batch_moments.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"
#include "numerics.hpp"
#include "numerics_golden.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace outcomes;
using namespace numerics;
using allfold::batch_shape;
using allfold::bfloat16;
using allfold::channel_moments;
using allfold::channel_sums;
using allfold::half;
using models::same_bits;

constexpr std::size_t channels = 3, length = 2, per_sample = channels * length;

void check_close(const std::vector<double>& found, const std::vector<double>& expected,
                 double tolerance) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK_MESSAGE(std::abs(found[i] - expected[i]) <= tolerance * (1 + std::abs(expected[i])),
                  found[i], " instead of ", expected[i]);
  }
}

/// What one rank finds for its part of a batch.
struct share {
  std::vector<channel_moments> moments;
  std::vector<channel_sums> sums, own_sums;
  std::vector<double> y, dx;
};

/// The samples [begin, end), normalised as the comments of the header say.
template <class T>
share normalise(auto& world, const golden_numerics::batch& batch, std::size_t begin,
                std::size_t end) {
  const auto cut_out = [&](const std::vector<double>& all) {
    return narrow<T>(std::vector<double>(all.begin() + static_cast<long>(begin * per_sample),
                                         all.begin() + static_cast<long>(end * per_sample)));
  };
  const std::vector<T> x = cut_out(batch.x), dy = cut_out(batch.dy);
  const batch_shape shape{end - begin, channels, length};
  share own;
  own.moments = allfold::synchronized_moments(world, allfold::local_moments(x, shape));
  own.own_sums = allfold::local_sums(dy, x, shape, own.moments);
  own.sums = allfold::synchronized_sums(world, own.own_sums);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i / length % channels;
    const channel_moments& all = own.moments[c];
    const double s = 1 / std::sqrt(all.variance() + golden_numerics::epsilon);
    const double apart = wide(x[i]) - all.mean;
    own.y.push_back(apart * s * golden_numerics::weight[c] + golden_numerics::bias[c]);
    own.dx.push_back(golden_numerics::weight[c] * s *
                     (wide(dy[i]) - own.sums[c].gradient / all.count -
                      apart * s * s * own.sums[c].deviation / all.count));
  }
  return own;
}

void check_share(const std::vector<share>& shares, const golden_numerics::batch& batch) {
  std::vector<double> mean, variance, y, dx, dweight(channels), dbias(channels);
  for (const channel_moments& each : shares[0].moments) {
    CHECK(each.count == static_cast<double>(batch.samples * length));
    mean.push_back(each.mean);
    variance.push_back(each.variance());
  }
  for (const share& each : shares) {
    CHECK(same_bits(each.moments, shares[0].moments));
    CHECK(same_bits(each.sums, shares[0].sums));
    y.insert(y.end(), each.y.begin(), each.y.end());
    dx.insert(dx.end(), each.dx.begin(), each.dx.end());
    for (std::size_t c = 0; c < channels; ++c) {
      dweight[c] += each.own_sums[c].deviation /
                    std::sqrt(each.moments[c].variance() + golden_numerics::epsilon);
      dbias[c] += each.own_sums[c].gradient;
    }
  }
  check_close(mean, batch.mean, 1e-14);
  check_close(variance, batch.variance, 1e-13);
  check_close(y, batch.y, 1e-11);
  check_close(dx, batch.dx, 1e-10);
  check_close(dweight, batch.dweight, 1e-11);
  check_close(dbias, batch.dbias, 1e-13);
}

template <class T>
void check_batches() {
  for (int ranks = 1; ranks <= 5; ++ranks) {
    std::vector<double> running_mean(channels, 0), running_variance(channels, 1);
    for (const golden_numerics::batch& batch : golden_numerics::batches) {
      CAPTURE(ranks);
      CAPTURE(batch.samples);
      std::vector<share> shares(at(ranks));
      allfold::spawn(ranks, [&](auto& world) {
        const int rank = world.rank();
        shares[at(rank)] = normalise<T>(world, batch, part_begin(batch.samples, rank, ranks),
                                        part_begin(batch.samples, rank + 1, ranks));
      });
      check_share(shares, batch);
      allfold::update_running_statistics(running_mean, running_variance, shares[0].moments, 0.3);
      check_close(running_mean, batch.running_mean, 1e-14);
      check_close(running_variance, batch.running_variance, 1e-13);
    }
  }
}

/// Moments of one channel, of one rank's values.
channel_moments of(const std::vector<double>& values) {
  return allfold::local_moments(values, {values.size(), 1})[0];
}

template <class T>
void check_running() {
  std::vector<T> mean{narrow<T>(1)}, variance{narrow<T>(2)};
  const std::vector<channel_moments> batch{{4, 3, 18}};
  allfold::update_running_statistics(mean, variance, batch, 0.25);
  CHECK(wide(mean[0]) == 1.5);
  CHECK(wide(variance[0]) == 3);
}

}  // namespace

TEST_CASE("forward and backward of PyTorch's BatchNorm over the batch of all ranks") {
  check_batches<float>();
  check_batches<double>();
  check_batches<half>();
  check_batches<bfloat16>();
}

TEST_CASE("running statistics of every type move by the momentum, with the unbiased variance") {
  check_running<float>();
  check_running<double>();
  check_running<half>();
  check_running<bfloat16>();
}

TEST_CASE("a small variance far from zero survives") {
  for (int ranks = 1; ranks <= 5; ++ranks) {
    std::vector<double> variances(at(ranks));
    allfold::spawn(ranks, [&](auto& world) {
      std::vector<double> values;
      for (int i = world.rank(); i < 1000; i += ranks) values.push_back(1e9 + i % 2);
      const auto all = allfold::synchronized_moments(world, {of(values)});
      variances[at(world.rank())] = all[0].variance();
    });
    double sum = 0, squares = 0;  // by which the variance would be lost
    for (int i = 0; i < 1000; ++i) {
      sum += 1e9 + i % 2;
      squares += (1e9 + i % 2) * (1e9 + i % 2);
    }
    CHECK(std::abs(squares / 1000 - sum / 1000 * (sum / 1000) - 0.25) > 0.1);
    for (const double each : variances)
      CHECK(std::abs(each - 0.25) < 1e-7);  // a mean is exact to 1e-7
  }
}

TEST_CASE("the order of the ranks is the order of the fold") {
  std::vector<std::vector<double>> values(5);
  channel_moments expected;
  for (int rank = 0; rank < 5; ++rank) {
    values[at(rank)] = models::noise<double>(at(rank * rank), static_cast<unsigned>(rank));
    expected = allfold::detail::merge_moments{}(expected, of(values[at(rank)]));
  }
  std::vector<channel_moments> found(5);
  allfold::spawn(5, [&](auto& world) {
    const auto all = allfold::synchronized_moments(world, {of(values[at(world.rank())])});
    found[at(world.rank())] = all[0];
  });
  CHECK(same_bits(found, std::vector<channel_moments>(5, expected)));
}

TEST_CASE("many channels, more than fit a slot") {
  constexpr std::size_t many = 3000;
  std::vector<std::vector<channel_moments>> found(4);
  allfold::spawn(4, [&](auto& world) {
    const auto values = models::noise<float>(5 * many, static_cast<unsigned>(world.rank()));
    found[at(world.rank())] =
        allfold::synchronized_moments(world, allfold::local_moments(values, {5, many}));
  });
  for (const auto& each : found) CHECK(same_bits(each, found[0]));
  std::vector<double> first;  // channel 7
  for (unsigned rank = 0; rank < 4; ++rank) {
    const auto values = models::noise<float>(5 * many, rank);
    for (std::size_t i = 0; i < 5; ++i) first.push_back(static_cast<double>(values[i * many + 7]));
  }
  CHECK(std::abs(found[0][7].mean - of(first).mean) < 1e-15);
  CHECK(std::abs(found[0][7].variance() - of(first).variance()) < 1e-14);
}

TEST_CASE("channels last is a shape without length") {
  const std::vector<float> values{1, 10, 2, 20, 3, 30, 4, 40};  // 2 samples, length 2, 2 channels
  const auto moments = allfold::local_moments(values, {4, 2});
  CHECK(moments[0].mean == 2.5);
  CHECK(moments[1].mean == 25);
  CHECK(moments[0].squares == 5);
  CHECK(moments[1].squares == 500);
}

TEST_CASE("ranks without samples count for nothing; if no rank has any, all are told") {
  const auto all = run_ranks(3, [](auto& world) {
    const std::vector<float> none;
    static_cast<void>(
        allfold::synchronized_moments(world, allfold::local_moments(none, {0, 2, 5})));
  });
  for (int rank = 0; rank < 3; ++rank) {
    CHECK(all[at(rank)].how == ending::usage);
    CHECK(all[at(rank)].says(rank_name(rank) + ", synchronized_moments at batch_moments.cpp:"));
    CHECK(all[at(rank)].says("channel 0 has no value on any rank"));
  }
}

TEST_CASE("the mean of no values may be NaN: it does not count") {
  constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
  for (int full = 0; full < 4; ++full) {
    std::vector<channel_moments> found(4);
    allfold::spawn(4, [&](auto& world) {
      const bool has = world.rank() == full || world.rank() == 3;
      const channel_moments own = has ? of({1, 3}) : channel_moments{0, not_a_number, not_a_number};
      found[at(world.rank())] = allfold::synchronized_moments(world, {own})[0];
    });
    for (const channel_moments& each : found) {
      CHECK(each.mean == 2);
      CHECK(each.variance() == 1);
    }
  }
}

TEST_CASE("ranks that differ in their channels get a mismatch_error") {
  for (const outcome& each : run_ranks(2, [](auto& world) {
         static_cast<void>(allfold::synchronized_sums(
             world, std::vector<channel_sums>(world.rank() == 0 ? 3 : 4)));
       }))
    CHECK(each.how == ending::mismatch);
}

TEST_CASE("sizes that do not fit are refused") {
  const std::vector<float> values(11);
  const std::vector<channel_moments> three(3);
  const auto refused = [](auto&& call, const std::string& function, const std::string& why) {
    const outcome found = attempt(call);
    CAPTURE(found);
    CHECK(found.how == ending::usage);
    CHECK(found.says("allfold: " + function + " at batch_moments.cpp:"));
    CHECK(found.says(why));
  };
  refused(
      [&] {
        allfold::local_moments(values, {2, 3, 2});
      },
      "local_moments", "the batch has 11 elements where 12 are needed");
  refused(
      [&] {
        allfold::local_sums(values, std::vector<float>(12), {2, 3, 2}, three);
      },
      "local_sums", "the gradient has 11 elements where 12 are needed");
  refused(
      [&] {
        allfold::local_sums(std::vector<float>(12), values, {2, 3, 2}, three);
      },
      "local_sums", "the batch has 11 elements where 12 are needed");
  refused(
      [&] {
        allfold::local_sums(values, values, {11, 1}, three);
      },
      "local_sums", "the list of moments has 3 elements where 1 are needed");
  std::vector<float> mean{5}, variance{6};
  const auto update = [&](std::vector<channel_moments> batch, double momentum) {
    return [&, batch, momentum] {
      allfold::update_running_statistics(mean, variance, batch, momentum);
    };
  };
  refused(update({{2, 0, 0}, {2, 0, 0}}, 0.1), "update_running_statistics",
          "the running mean has 1 elements where 2 are needed");
  refused(update({{1, 0, 0}}, 0.1), "update_running_statistics",
          "channel 0 has less than two values");
  refused(update({{2, 0, 0}}, 1.5), "update_running_statistics", "it must be in [0, 1]");
  refused(update({{2, 0, 0}}, std::numeric_limits<double>::quiet_NaN()),
          "update_running_statistics", "it must be in [0, 1]");
  CHECK((mean[0] == 5 && variance[0] == 6));
}
