// Gradients as products of two thin matrices.
#include <allfold/data_parallel/power_sgd.hpp>

#include "combining.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace {

using namespace combining;
using allfold::error_feedback;
using allfold::power_sgd;
using allfold::power_sgd_options;
using allfold::detail::near_square;
using models::noise;
using models::same_bits;

const std::vector<std::size_t> sizes{0, 1, 2, 16, 37, 400, 1001, 4096};

constexpr power_sgd_options forgetful{.feedback = error_feedback::off};
constexpr power_sgd_options cold{.feedback = error_feedback::off, .warm_start = false};

/// Gradients whose sum over the ranks is a matrix of rank `rank`; each rank's alone has full rank.
/// A short last row can't be a multiple of another, so it is the only one in its term.
by_rank<float> low_rank_in_sum(int ranks, std::size_t size, int rank) {
  const near_square shape{size};
  by_rank<float> all = noise_of_ranks<float>(ranks, size);
  std::vector<float>& last = all.back();
  std::fill(last.begin(), last.end(), 0.0f);
  const std::size_t whole = size / shape.columns * shape.columns;
  if (whole != size) --rank;
  for (int k = 0; k < rank; ++k) {
    const auto a = noise<float>(shape.rows, 7u + static_cast<unsigned>(k));
    const auto b = noise<float>(shape.columns, 70u + static_cast<unsigned>(k));
    for (std::size_t i = 0; i < whole; ++i) last[i] += a[i / shape.columns] * b[i % shape.columns];
  }
  std::ranges::copy(noise<float>(size - whole, 5),
                    last.begin() + static_cast<std::ptrdiff_t>(whole));
  for (std::size_t other = 0; other + 1 < all.size(); ++other)
    for (std::size_t i = 0; i < size; ++i) last[i] -= all[other][i];
  return all;
}

TEST_CASE("the matrix is as square as can be") {
  for (std::size_t size = 0; size < 3000; ++size) {
    const near_square shape{size};
    REQUIRE(shape.rows * shape.columns >= size);
    REQUIRE((size == 0 || (shape.columns - 1) * (shape.columns - 1) < size));
    REQUIRE(shape.rows <= shape.columns);
    REQUIRE((size == 0 || (shape.rows - 1) * shape.columns < size));
  }
}

TEST_CASE("tiles cover the matrix, column by column") {
  for (const std::size_t size : {0u, 1u, 37u, 400u, 1001u})
    for (const std::size_t tile : {1u, 4u, 7u, 32u, 100u}) {
      std::vector<float> matrix(size);
      const std::size_t columns = near_square{size}.columns;
      std::size_t before = 0;
      const auto visit = [&](std::size_t row, std::size_t left, std::span<float> part) {
        REQUIRE(part.data() == matrix.data() + row * columns + left);
        REQUIRE(!part.empty());
        REQUIRE(part.size() <= tile);
        REQUIRE(left + part.size() <= columns);
        REQUIRE(left >= before);
        before = left;
        for (float& each : part) each += 1;
      };
      allfold::detail::in_tiles(matrix, columns, visit, tile);
      CHECK(matrix == std::vector<float>(size, 1.0f));
    }
}

TEST_CASE("columns become orthonormal, also where they nearly depend on each other") {
  const std::size_t length = 100;
  std::vector<float> columns = noise<float>(4 * length, 1);
  for (std::size_t i = 0; i < length; ++i) {
    columns[length + i] = columns[i] + 1e-4f * columns[length + i];
    columns[2 * length + i] = 3 * columns[i];  // depends on the first
  }
  int replaced = 0;
  allfold::detail::orthonormalize(columns, length, [&](auto column, std::size_t k) {
    ++replaced;
    CHECK(k == 2);
    std::ranges::copy(noise<float>(length, 9), column.begin());
  });
  CHECK(replaced == 1);
  for (std::size_t a = 0; a < 4; ++a)
    for (std::size_t b = 0; b < 4; ++b) {
      const std::span all{columns};
      const double product = allfold::detail::wide_product(all.subspan(a * length, length),
                                                           all.subspan(b * length, length));
      CHECK(std::abs(product - (a == b ? 1 : 0)) < 1e-6);
    }
}

TEST_CASE("matrices of no higher rank come out exactly") {
  constexpr double rounding = 1e-4;  // the ranks' own matrices cancel out, and so do digits
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const std::size_t size : {400u, 1001u, 4000u})
      for (const bool averages : {false, true}) {
        CAPTURE(ranks);
        CAPTURE(size);
        const auto one = low_rank_in_sum(ranks, size, 1), three = low_rank_in_sum(ranks, size, 3);
        CHECK(distance(combine_once<power_sgd<1>>(one, averages)[0], exactly(one, averages)) <
              rounding);
        CHECK(distance(combine_once<power_sgd<3>>(three, averages)[0], exactly(three, averages)) <
              rounding);
        CHECK(distance(combine_once<power_sgd<3>>(one, averages)[0], exactly(one, averages)) <
              rounding);
        CHECK(distance(combine_once<power_sgd<2>>(three, averages)[0], exactly(three, averages)) >
              0.01);
      }
}

struct rows_of_seven {
  static std::size_t length(std::size_t) { return 7; }
};

TEST_CASE("rows may have a length of their own") {
  const allfold::detail::matrix_shape shape{143, 7};
  CHECK(shape.rows == 21);
  by_rank<float> outer{std::vector<float>(140), std::vector<float>(140)};
  const auto a = noise<float>(20, 1), b = noise<float>(7, 2);
  for (auto& each : outer)
    for (std::size_t i = 0; i < each.size(); ++i) each[i] = a[i / 7] * b[i % 7];
  std::vector<power_sgd<1, power_sgd_options{}, rows_of_seven>> each(2);
  CHECK(distance(combine(outer, each, true)[0], exactly(outer, true)) < 1e-5);
  CHECK(each[0].bytes_sent() == (20 + 7) * sizeof(float));
  CHECK(distance(combine_once<power_sgd<1>>(outer, true)[0], exactly(outer, true)) > 0.01);
}

TEST_CASE("all ranks get the same bits") {
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const std::size_t size : sizes)
      for (const bool averages : {false, true}) {
        std::vector<power_sgd<2>> each(static_cast<std::size_t>(ranks));
        for (unsigned step = 0; step < 3; ++step) {
          const auto gradients = noise_of_ranks<float>(ranks, size, step);
          const auto results = combine<allfold::ring>(gradients, each, averages);
          CHECK(same_on_all(results));
          if (size < 37)  // too small to gain
            CHECK(results ==
                  combine_once<allfold::uncompressed, allfold::ring>(gradients, averages));
        }
        // What each rank keeps is its own.
        if (ranks > 1 && size >= 37)
          CHECK(!(saved_state::of(each[0]).vectors["0.residual"] ==
                  saved_state::of(each[1]).vectors["0.residual"]));
      }
}

TEST_CASE("the results of many steps add up to the gradients, if the rest is kept") {
  for (const bool averages : {false, true}) {
    const auto gradients = noise_of_ranks<float>(3, 397);
    const double early = distance_after<power_sgd<2>>(50, gradients, averages);
    const double late = distance_after<power_sgd<2>>(800, gradients, averages);
    CHECK(late < early / 8);
    CHECK(late < 0.05);
    CHECK(distance_after<power_sgd<2, forgetful>>(800, gradients, averages) > 0.5);
  }
}

/// The distance in the last of `steps` steps with the same gradients.
template <class Compression>
double last_distance(int steps, const by_rank<float>& gradients) {
  std::vector<Compression> each(gradients.size());
  double last = 0;
  for (int step = 0; step < steps; ++step)
    last = distance(combine(gradients, each, true)[0], exactly(gradients, true));
  return last;
}

TEST_CASE("a warm start comes closer with each step, a cold one does not") {
  auto gradients = noise_of_ranks<float>(2, 2500);  // 50 rows and columns
  for (std::size_t i = 0; i < 2500; ++i)            // one direction somewhat above the noise
    gradients[0][i] +=
        1.0f * std::cos(static_cast<float>(i / 50)) * std::sin(static_cast<float>(i % 50));
  const double first = last_distance<power_sgd<1, forgetful>>(1, gradients);
  const double warm = last_distance<power_sgd<1, forgetful>>(10, gradients);
  CHECK(warm < first - 0.02);
  CHECK(warm < last_distance<power_sgd<1, cold>>(10, gradients) - 0.02);
}

TEST_CASE("a cold start takes another Q in every step") {
  std::vector<power_sgd<1, cold>> each(2);
  const auto gradients = noise_of_ranks<float>(2, 400);
  const auto first = combine(gradients, each, true), second = combine(gradients, each, true);
  CHECK(first != second);
}

TEST_CASE("seeds and stretches begin differently, and each time alike") {
  const auto gradients = noise_of_ranks<float>(2, 400);
  const auto first = combine_once<power_sgd<1>>(gradients, true);
  CHECK(first == combine_once<power_sgd<1>>(gradients, true));
  CHECK(first != combine_once<power_sgd<1, power_sgd_options{.seed = 1}>>(gradients, true));
  std::vector<power_sgd<1>> each(2);
  CHECK(first != combine(gradients, each, true, 1));
}

TEST_CASE("before the start step nothing is compressed") {
  std::vector<power_sgd<1, power_sgd_options{.start_step = 2}>> each(3);
  const auto gradients = noise_of_ranks<float>(3, 400);
  const auto plain = combine_once<allfold::uncompressed>(gradients, true);
  CHECK(combine(gradients, each, true) == plain);
  CHECK(combine(gradients, each, true) == plain);
  CHECK(combine(gradients, each, true) != plain);
  CHECK(each[0].bytes_sent() == 2 * 1600 + 160);
}

TEST_CASE("a column that came to nothing begins anew") {
  std::vector<power_sgd<2>> each(2);
  for (int step = 0; step < 2; ++step) {
    const by_rank<float> zeros(2, std::vector<float>(400));
    CHECK(combine(zeros, each, true) == zeros);
  }
  const auto gradients = low_rank_in_sum(2, 400, 2);
  CHECK(distance(combine(gradients, each, true)[0], exactly(gradients, true)) < 1e-5);
}

TEST_CASE("gradients of other types, and very large and very small ones") {
  const auto plain = low_rank_in_sum(2, 400, 1);
  for (const float factor : {1e-30f, 1e30f}) {
    auto scaled = plain;
    for (auto& each : scaled)
      for (float& element : each) element *= factor;
    const auto results = combine_once<power_sgd<1>>(scaled, true);
    CHECK(distance(results[0], exactly(scaled, true)) < 1e-5);
  }
  by_rank<double> wide;
  by_rank<allfold::half> narrow;
  for (const auto& each : plain) {
    wide.emplace_back(each.begin(), each.end());
    narrow.emplace_back();
    for (const float element : each) narrow.back().emplace_back(element);
  }
  const auto of_wide = combine_once<power_sgd<1>>(wide, true);
  CHECK(same_on_all(of_wide));
  CHECK(distance(of_wide[0], exactly(plain, true)) < 1e-5);
  const auto of_narrow = combine_once<power_sgd<1>>(narrow, true);
  CHECK(same_on_all(of_narrow));
  CHECK(distance(of_narrow[0], exactly(plain, true)) < 1e-2);
}

TEST_CASE("what is not finite makes all NaN on all ranks, and leaves the residuals") {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    std::vector<power_sgd<2>> each(2);
    combine(noise_of_ranks<float>(2, 400), each, true);
    const auto before = saved_state::of(each[1]).vectors["0.residual"];
    auto gradients = noise_of_ranks<float>(2, 400);
    gradients[0][77] = bad;
    for (const auto& result : combine(gradients, each, true))
      CHECK(std::all_of(result.begin(), result.end(), [](float x) { return std::isnan(x); }));
    CHECK(same_bits(saved_state::of(each[1]).vectors["0.residual"], before));
    const auto after = combine(noise_of_ranks<float>(2, 400), each, true)[0];
    CHECK(std::none_of(after.begin(), after.end(), [](float x) { return std::isnan(x); }));
  }
}

TEST_CASE("finite gradients whose products are infinite become NaN, not zero") {
  // Some of the random vectors that the stretches begin with make P infinite, the others only Q.
  std::vector<power_sgd<1>> each(1);
  for (std::size_t index = 0; index < 10; ++index) {
    const by_rank<float> gradients{std::vector<float>(400, 3e38f)};
    const auto result = combine(gradients, each, true, index)[0];
    CHECK(std::all_of(result.begin(), result.end(), [](float x) { return std::isnan(x); }));
  }
}

TEST_CASE("power_sgd goes on from saved state with the same bits") {
  CHECK(goes_on<power_sgd<2>>(3, false));
  CHECK(!goes_on<power_sgd<2>>(3, true));
  CHECK(goes_on<power_sgd<1, cold>>(2, false));  // the step count alone
  CHECK(!goes_on<power_sgd<1, cold>>(2, true));
}

TEST_CASE("state of another rank is refused") {
  std::vector<power_sgd<2>> two(1);
  std::vector<power_sgd<1>> one(1);
  combine(noise_of_ranks<float>(1, 400), two, true);
  saved_state::of(two[0]).restore(one[0]);
  CHECK_THROWS_WITH_AS(
      combine(noise_of_ranks<float>(1, 400), one, true),
      "allfold: the state of stretch 0 of the gradients has 40 numbers, and needs 20",
      allfold::usage_error);
}

TEST_CASE("bytes are counted") {
  std::vector<power_sgd<2>> each(2);
  combine(noise_of_ranks<float>(2, 1001), each, true);  // 32 columns and 32 rows
  CHECK(each[0].bytes_sent() == 64 * 2 * 4);
  CHECK(each[0].bytes_uncompressed() == 1001 * 4);
  combine(noise_of_ranks<float>(2, 15), each, true, 1);  // 4 and 4, twice, would be more
  CHECK(each[0].bytes_sent() == 64 * 2 * 4 + 15 * 4);
}

}  // namespace
