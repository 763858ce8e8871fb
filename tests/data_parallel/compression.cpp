// What a compression is, gradients sent in 16 bits, and a user's own.
#include <allfold/allfold.hpp>

#include "combining.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace {

using namespace combining;
using allfold::bfloat16;
using allfold::error_feedback;
using allfold::half;
using allfold::uncompressed;
using allfold::wire;
using models::same_bits;

const std::vector<std::size_t> sizes{0, 1, 37, 1000, 2501};

/// A user's own: the signs of the elements, and their mean magnitude.
struct signs {
  template <class T, class Ranks>
  void combine(std::span<T> gradient, std::size_t, Ranks& ranks) {
    T size = 0;
    for (const T each : gradient) size += std::abs(each) / static_cast<T>(gradient.size());
    for (T& each : gradient) each = std::copysign(T{1}, each);
    ranks.reduce(gradient);
    ranks.reduce(std::span{&size, 1});
    for (T& each : gradient) each *= size / static_cast<T>(ranks.averages() ? 1 : ranks.size());
  }
};

static_assert(allfold::compression<signs>);
static_assert(allfold::compression<uncompressed, double>);
static_assert(allfold::compression<wire<half>, bfloat16>);
struct no_combine {};
struct no_index {
  void combine(std::span<float>, int*, auto&) {}
};
struct only_double {
  void combine(std::span<double>, std::size_t, auto&) {}
};
static_assert(!allfold::compression<no_combine>);
static_assert(!allfold::compression<no_index>);
static_assert(!allfold::compression<only_double> && allfold::compression<only_double, double>);

/// Each input rounded once, folded in float in rank order, and rounded once.
template <class Narrow, class T>
std::vector<T> serially(const by_rank<T>& all, bool averages) {
  std::vector<T> result(all[0].size());
  for (std::size_t i = 0; i < result.size(); ++i) {
    float total = 0;
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
      const auto own = static_cast<float>(static_cast<Narrow>(static_cast<float>(all[rank][i])));
      total = rank == 0 ? own : total + own;
    }
    if (averages) total /= static_cast<float>(all.size());
    result[i] = static_cast<T>(static_cast<float>(static_cast<Narrow>(total)));
  }
  return result;
}

template <class Compression, class Narrow, class T>
void check_serially() {
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const std::size_t size : sizes)
      for (const bool averages : {false, true}) {
        CAPTURE(ranks);
        CAPTURE(size);
        const auto gradients = noise_of_ranks<T>(ranks, size);
        const auto results = combine_once<Compression>(gradients, averages);
        CHECK(same_on_all(results));
        CHECK(same_bits(results[0], serially<Narrow>(gradients, averages)));
      }
}

/// Equal on all ranks, whatever the algorithm.
template <class Compression, class Algorithm>
void check_equality() {
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const std::size_t size : sizes)
      CHECK(same_on_all(
          combine_once<Compression, Algorithm>(noise_of_ranks<float>(ranks, size), true)));
}

TEST_CASE("uncompressed reduces and nothing else") {
  check_serially<uncompressed, float, float>();
  check_serially<uncompressed, half, half>();
}

TEST_CASE("wire rounds each rank's gradient once and the fold once") {
  check_serially<wire<bfloat16>, bfloat16, float>();
  check_serially<wire<half>, half, float>();
  check_serially<wire<half>, half, double>();
}

TEST_CASE("wire leaves gradients of 16 bits as they are") {
  check_serially<wire<half>, bfloat16, bfloat16>();
  check_serially<wire<bfloat16>, half, half>();
}

TEST_CASE("wire gives all ranks the same bits by every algorithm") {
  check_equality<wire<bfloat16>, allfold::ring>();
  check_equality<wire<half>, allfold::tree>();
  check_equality<wire<half, error_feedback::on>, allfold::halving_doubling>();
}

TEST_CASE("half overflows where bfloat16 does not") {
  const by_rank<float> gradients{{40000.0f, 1e6f, 2.0f}, {40000.0f, 0.0f, 3.0f}};
  const auto sum = combine_once<wire<half>>(gradients, false);
  CHECK(std::isinf(sum[0][0]));
  CHECK(std::isinf(sum[0][1]));
  CHECK(sum[0][2] == 5.0f);
  CHECK(combine_once<wire<half>>(gradients, true)[1][0] == 40000.0f);  // folded in float
  CHECK(combine_once<wire<bfloat16>>(gradients, false)[0][0] ==
        doctest::Approx(80000).epsilon(0.01));
}

TEST_CASE("with error feedback the results of many steps add up to the gradients") {
  const auto gradients = noise_of_ranks<float>(3, 200);
  // Each rank's rounding is made good; that of the fold is not, so a rank that is alone shows it.
  const by_rank<float> alone{gradients[0]};
  CHECK(distance_after<wire<bfloat16, error_feedback::on>>(64, alone, true) < 1e-4);
  CHECK(distance_after<wire<bfloat16, error_feedback::off>>(64, alone, true) > 1e-3);
}

TEST_CASE("wire does not remember what half can't hold") {
  std::vector<wire<half, error_feedback::on>> each(1);
  CHECK(std::isinf(combine(by_rank<float>{{1e6f, 1.0f}}, each, true)[0][0]));
  CHECK(combine(by_rank<float>{{2.0f, 1.0f}}, each, true)[0] == std::vector{2.0f, 1.0f});
}

TEST_CASE("wire goes on from saved state with the same bits") {
  CHECK(goes_on<wire<bfloat16, error_feedback::on>>(3, false));
  CHECK(!goes_on<wire<bfloat16, error_feedback::on>>(3, true));
}

TEST_CASE("state of another size is refused") {
  std::vector<wire<half, error_feedback::on>> each(1);
  combine(noise_of_ranks<float>(1, 10), each, true, 2);
  CHECK_THROWS_WITH_AS(
      combine(noise_of_ranks<float>(1, 11), each, true, 2),
      "allfold: the state of stretch 2 of the gradients has 10 numbers, and needs 11",
      allfold::usage_error);
}

TEST_CASE("bytes are counted") {
  std::vector<wire<half>> narrow(2);
  std::vector<uncompressed> plain(2);
  for (int step = 0; step < 3; ++step) {
    combine(noise_of_ranks<float>(2, 100), narrow, true);
    combine(noise_of_ranks<float>(2, 100), plain, true);
  }
  combine(noise_of_ranks<half>(2, 100), narrow, true);
  CHECK(narrow[1].bytes_sent() == 3 * 200 + 200);
  CHECK(narrow[1].bytes_uncompressed() == 3 * 400 + 200);
  CHECK(plain[0].bytes_sent() == 3 * 400);
  CHECK(plain[0].bytes_uncompressed() == 3 * 400);
}

TEST_CASE("a compression of one's own") {
  for (const bool averages : {false, true}) {
    const by_rank<float> gradients{{1, -2, 3}, {3, 2, -1}, {2, 2, 2}};
    const auto results = combine_once<signs>(gradients, averages);
    CHECK(same_on_all(results));
    const float times = averages ? 1 : 3;  // signs 3, 1, 1 of 3, by the mean magnitude 2
    CHECK(results[0][0] == doctest::Approx(2 * times));
    CHECK(results[0][1] == doctest::Approx(2 * times / 3));
    CHECK(results[0][2] == doctest::Approx(2 * times / 3));
  }
}

}  // namespace

TEST_CASE("a replica's gradients are counted without a compression as well") {
  allfold::spawn(2, [](auto& world) {
    models::arrays<float> model{{100, 20}};
    allfold::data_parallel<models::arrays<float>, allfold::distributed<allfold::direct>> replica{
        model, world};
    for (int pass = 0; pass < 2; ++pass) replica.reduce_gradients();
    if (replica.compression().bytes_sent() != 2 * 480 ||
        replica.compression().bytes_uncompressed() != 2 * 480)
      throw std::logic_error{std::to_string(replica.compression().bytes_sent())};
  });
}
