// Folds of floating-point numbers over MPI, in whatever order it takes: right within rounding, the
// same bits on all ranks, exact where every order is.
#include <allfold/allfold.hpp>
#include <allfold/communicator/mpi.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <vector>

#include "support/elements.hpp"

namespace {

using allfold::native;
using world_type = allfold::mpi::communicator;

/// All ranks' elements, by rank: every rank knows them all.
template <class T, class Value>
std::vector<std::vector<T>> elements_of(int ranks, std::size_t count, Value value) {
  std::vector<std::vector<T>> all(static_cast<std::size_t>(ranks));
  test::random_bits random{count};
  for (auto& each : all)
    for (std::size_t i = 0; i < count; ++i) each.push_back(value(random));
  return all;
}

/// True on every rank if all hold the same bits.
template <class T>
bool alike_on_all(world_type& world, const std::vector<T>& mine) {
  std::vector<T> all(mine.size() * static_cast<std::size_t>(world.size()));
  allfold::all_gather(world, mine, all);
  for (std::size_t i = 0; i < all.size(); ++i)
    if (std::memcmp(&all[i], &mine[i % mine.size()], test::kind_of_element<T>.value_bytes) != 0)
      return false;
  return true;
}

constexpr std::size_t counts[] = {1, 5, 1000, 50'000};

template <class T>
double as_double(T value) {
  return static_cast<double>(static_cast<allfold::accumulator<T>>(value));
}

}  // namespace

TEST_CASE_TEMPLATE("sums and means are right within rounding", T, float, double, long double,
                   allfold::bfloat16) {
  world_type world{MPI_COMM_WORLD};
  for (const std::size_t count : counts) {
    const auto inputs = elements_of<T>(world.size(), count, [](test::random_bits& random) {
      return static_cast<T>(static_cast<float>(random() % 20'001) / 10'000.0f - 1.0f);
    });
    std::vector<T> total = inputs[static_cast<std::size_t>(world.rank())], mean(count);
    allfold::all_reduce<native>(world, total, mean, allfold::average{});
    allfold::all_reduce<native>(world, total);
    bool right = true;
    const double digit = sizeof(T) == 2 ? 0x1p-7 : sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;
    const int n = world.size();
    for (std::size_t i = 0; i < count; ++i) {
      double expected = 0;
      for (const auto& each : inputs) expected += as_double(each[i]);
      right = right && std::abs(as_double(total[i]) - expected) <= n * n * digit;
      right = right && std::abs(as_double(mean[i]) - expected / n) <= n * n * digit;
    }
    CHECK(right);
    CHECK(alike_on_all(world, total));
    CHECK(alike_on_all(world, mean));
  }
}

TEST_CASE_TEMPLATE("whole numbers are exact, also in 16 bits", T, allfold::half, allfold::bfloat16,
                   float, double, std::complex<float>) {
  world_type world{MPI_COMM_WORLD, {.largest_count = 999}};
  for (const std::size_t count : counts) {
    std::vector<T> data(count), product(count);
    for (std::size_t i = 0; i < count; ++i) {
      data[i] =
          static_cast<T>(static_cast<float>((i % 7) * static_cast<unsigned>(world.rank() + 1)));
      product[i] = static_cast<T>(i % 3 == 0 ? 2.0f : -1.0f);
    }
    const std::vector<T> mine = data;
    allfold::all_reduce(world, data);
    allfold::all_reduce(world, product, allfold::product{});
    const int triangle = world.size() * (world.size() + 1) / 2;
    const float minus = world.size() % 2 == 0 ? 1.0f : -1.0f;
    bool right = true;
    for (std::size_t i = 0; i < count; ++i) {
      right = right &&
              data[i] == static_cast<T>(static_cast<float>(i % 7) * static_cast<float>(triangle));
      right = right &&
              product[i] == static_cast<T>(i % 3 == 0 ? std::ldexp(1.0f, world.size()) : minus);
    }
    CHECK(right);
    std::vector<T> mean = mine;
    for (T& each : mean) each = static_cast<T>(6.0f);
    allfold::reduce(world, mean, world.size() - 1, allfold::average{});
    for (const T each : mean) right = right && each == static_cast<T>(6.0f);
    CHECK(right);
  }
}

TEST_CASE("extremes with zeros of both signs and NaN are the same bits on all ranks") {
  world_type world{MPI_COMM_WORLD};
  const float odd[] = {0.0f, -0.0f, std::numeric_limits<float>::quiet_NaN(), 1.0f};
  std::vector<float> low(4096), high(4096);
  test::random_bits random{static_cast<std::uint64_t>(world.rank())};
  for (std::size_t i = 0; i < low.size(); ++i) low[i] = high[i] = odd[random.below(4)];
  allfold::all_reduce(world, low, allfold::minimum{});
  allfold::all_reduce(world, high, allfold::maximum{});
  CHECK(alike_on_all(world, low));
  CHECK(alike_on_all(world, high));
}

TEST_CASE("an operation with a state of its own, which differs from call to call") {
  world_type world{MPI_COMM_WORLD};
  for (int modulus = 2; modulus < 9; ++modulus) {
    const auto add = [modulus](int a, int b) { return (a + b) % modulus; };
    std::vector<int> data(100);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<int>(i) % modulus;
    allfold::all_reduce<native>(world, data, add);
    bool right = true;
    for (std::size_t i = 0; i < data.size(); ++i)
      right = right && data[i] == static_cast<int>(i) % modulus * world.size() % modulus;
    CHECK(right);
  }
}
