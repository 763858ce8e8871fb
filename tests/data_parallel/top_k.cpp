// The largest elements of each rank's gradient, added up; the rest later.
#include <allfold/data_parallel/top_k.hpp>

#include "combining.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

namespace {

using namespace combining;
using allfold::error_feedback;
using allfold::top_k;
using models::same_bits;

const std::vector<std::size_t> sizes{0, 1, 2, 3, 37, 1000, 2501};

/// What a rank sends of its gradient, by sorting; the rest is zero.
std::vector<float> largest(const std::vector<float>& own, std::size_t count) {
  std::vector<std::size_t> order(own.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(own[a]) > std::abs(own[b]);
  });
  std::vector<float> sent(own.size());
  for (std::size_t i = 0; i < count; ++i) sent[order[i]] = own[order[i]];
  return sent;
}

std::vector<float> residual_of(auto& it) { return saved_state::of(it).vectors["0.residual"]; }

TEST_CASE("the largest elements are added up in rank order") {
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const std::size_t size : sizes)
      for (const bool averages : {false, true}) {
        CAPTURE(ranks);
        CAPTURE(size);
        const auto gradients = noise_of_ranks<float>(ranks, size);
        const std::size_t count =
            top_k<50>::sent_of(size) * 2 < size ? top_k<50>::sent_of(size) : size;
        std::vector<float> expected(size);
        for (const auto& own : gradients) {
          const std::vector<float> sent = largest(own, count);
          for (std::size_t i = 0; i < size; ++i) expected[i] += sent[i];
        }
        if (averages)
          for (float& each : expected) each /= static_cast<float>(ranks);
        const auto results = combine_once<top_k<50>>(gradients, averages);
        CHECK(same_on_all(results));
        CHECK(results[0] == expected);
      }
}

TEST_CASE("how many elements are sent") {
  CHECK(top_k<10>::sent_of(0) == 0);
  CHECK(top_k<10>::sent_of(1) == 1);
  CHECK(top_k<10>::sent_of(1000) == 10);
  CHECK(top_k<10>::sent_of(1001) == 11);
  CHECK(top_k<1000>::sent_of(12345) == 12345);
}

TEST_CASE("what is sent and what stays is the gradient") {
  std::vector<top_k<10>> each(3);
  const auto gradients = noise_of_ranks<float>(3, 1001);
  combine(gradients, each, false);
  for (std::size_t rank = 0; rank < 3; ++rank) {
    std::vector<float> whole = largest(gradients[rank], 11);
    const std::vector<float> rest = residual_of(each[rank]);
    CHECK(std::count(rest.begin(), rest.end(), 0.0f) == 11);
    for (std::size_t i = 0; i < whole.size(); ++i) whole[i] += rest[i];
    CHECK(same_bits(whole, gradients[rank]));
  }
}

TEST_CASE("among equals the first are sent") {
  by_rank<float> gradients{std::vector<float>(300, -2.0f)};
  gradients[0][299] = 5;
  const auto result = combine_once<top_k<10>>(gradients, true)[0];
  CHECK(result == largest(gradients[0], 3));
  CHECK(result[0] == -2);
  CHECK(result[1] == -2);
  CHECK(result[2] == 0);
}

TEST_CASE("the results of many steps add up to the gradients, if the rest is kept") {
  const auto gradients = noise_of_ranks<float>(3, 400);
  const double early = distance_after<top_k<20>>(50, gradients, true);
  const double late = distance_after<top_k<20>>(800, gradients, true);
  CHECK(late < early / 8);
  CHECK(late < 0.05);
  CHECK(distance_after<top_k<20, error_feedback::off>>(800, gradients, true) > 0.5);
}

TEST_CASE("gradients of other types") {
  for (const bool averages : {false, true}) {
    const auto wide = noise_of_ranks<double>(3, 500);
    const auto narrow = noise_of_ranks<allfold::half>(3, 500);
    CHECK(same_on_all(combine_once<top_k<10>>(wide, averages)));
    const auto all =
        combine_once<top_k<900>>(wide, averages);  // more bytes than half of a double's
    CHECK(same_on_all(all));
    CHECK(distance(all[0], exactly(wide, averages)) < 0.1);
    CHECK(same_on_all(combine_once<top_k<10>>(narrow, averages)));
  }
}

TEST_CASE("what is not finite makes all NaN on all ranks, and leaves the residuals") {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    std::vector<top_k<10>> each(2);
    combine(noise_of_ranks<float>(2, 500), each, true);
    const std::vector<float> before = residual_of(each[1]);
    auto gradients = noise_of_ranks<float>(2, 500);
    gradients[0][77] = bad;
    for (const auto& result : combine(gradients, each, true))
      CHECK(std::all_of(result.begin(), result.end(), [](float x) { return std::isnan(x); }));
    CHECK(same_bits(residual_of(each[1]), before));
    const auto after = combine(noise_of_ranks<float>(2, 500), each, true)[0];
    CHECK(std::none_of(after.begin(), after.end(), [](float x) { return std::isnan(x); }));
  }
}

TEST_CASE("top_k goes on from saved state with the same bits") {
  CHECK(goes_on<top_k<10>>(3, false));
  CHECK(!goes_on<top_k<10>>(3, true));
}

TEST_CASE("bytes are counted") {
  std::vector<top_k<10>> each(2);
  combine(noise_of_ranks<float>(2, 1001), each, true);
  CHECK(each[0].bytes_sent() == 11 * 8);
  CHECK(each[0].bytes_uncompressed() == 1001 * 4);
  combine(noise_of_ranks<float>(2, 2), each, true, 1);  // one of two would be as many bytes
  CHECK(each[0].bytes_sent() == 11 * 8 + 8);
}

}  // namespace
