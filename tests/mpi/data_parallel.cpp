// Replicas over MPI train as those of threads do.
#include <allfold/allfold.hpp>
#include <allfold/communicator/mpi.hpp>
#include <allfold/data_parallel/batch_moments.hpp>
#include <allfold/data_parallel/gradient_norm.hpp>

#include "data_parallel/models.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

namespace {

using namespace allfold;
using arrays = models::arrays<float>;
using values = std::vector<std::vector<float>>;
using doctest::Contains;

int processes() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

const std::vector<std::size_t> sizes{300, 1, 40, 7, 64};

/// Five steps in which each rank has gradients of its own, which depend on its parameters.
template <class Strategy, class World>
values trained(World& world, data_parallel_options options = {}) {
  arrays model{sizes};
  model.fill(static_cast<float>(world.rank()), 0);
  for (auto& each : model.values)
    for (std::size_t i = 0; i < each.size(); ++i) each[i] += static_cast<float>(i % 5);
  data_parallel<arrays, Strategy> replica{model, world, options};
  for (unsigned step = 0; step < 5; ++step) {
    replica.backward(
        [&](auto&& ready) {
          for (std::size_t i = sizes.size(); i > 0; --i) {
            const auto own =
                models::noise<float>(sizes[i - 1], step * 16 + static_cast<unsigned>(world.rank()));
            for (std::size_t k = 0; k < own.size(); ++k)
              model.slopes[i - 1][k] = own[k] + 0.1f * model.values[i - 1][k];
            ready(i - 1);
          }
        },
        static_cast<std::size_t>(world.rank()) + 1);
    replica.step([](std::span<float> parameter, std::span<const float> gradient) {
      for (std::size_t k = 0; k < parameter.size(); ++k) parameter[k] -= 0.5f * gradient[k];
    });
  }
  return model.values;
}

/// The same on as many threads, as rank 0 has it.
template <class Strategy>
values trained_on_threads(data_parallel_options options = {}) {
  values all;
  spawn(processes(), [&](threads::communicator& world) {
    values mine = trained<Strategy>(world, options);
    if (world.rank() == 0) all = std::move(mine);
  });
  return all;
}

bool nearly_equal(const values& a, const values& b, float bound) {
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t k = 0; k < a[i].size(); ++k)
      if (!(std::abs(a[i][k] - b[i][k]) <= bound)) return false;
  return a.size() == b.size();
}
bool same_bits(const values& a, const values& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!models::same_bits(a[i], b[i])) return false;
  return a.size() == b.size();
}

/// `Over` is the strategy over MPI, `Beside` the same on threads. Two numbers have only one sum.
template <class Over, class Beside>
void compare(data_parallel_options options = {}, float bound = 1e-5f) {
  const values expected = trained_on_threads<Beside>(options);
  mpi::communicator world{MPI_COMM_WORLD};
  const values found = trained<Over>(world, options);
  CHECK(nearly_equal(found, expected, bound));
  if (world.size() <= 2) CHECK(same_bits(found, expected));
  std::vector<float> first = found[0];
  broadcast(world, first);
  CHECK(models::same_bits(first, found[0]));
}

}  // namespace

TEST_CASE("distributed") {
  compare<distributed<native>, distributed<>>();
  compare<distributed<>, distributed<>>({.scale = scale::mean_over_samples});
  compare<distributed<native>, distributed<>>({.scale = scale::sum});
}

TEST_CASE("gradients are reduced by a thread of their own") {
  mpi::communicator world{MPI_COMM_WORLD};
  arrays model{sizes};
  data_parallel<arrays, distributed<>> replica{model, world, {.overlap = overlap::by_thread}};
  CHECK(replica.overlaps() == (world.size() > 1));
  using small = distributed<native, buckets<200, 200>>;
  compare<small, distributed<>>({.overlap = overlap::by_thread});
}

TEST_CASE("primary_device and local_sgd") {
  compare<primary_device<>, primary_device<>>();
  compare<local_sgd<2, 1>, local_sgd<2, 1>>();
}

TEST_CASE("compressed gradients") {
  using compressed = distributed<automatic, buckets<>, wire<bfloat16>>;
  compare<compressed, compressed>({}, 0.2f);
}

TEST_CASE("models that differ are told on every rank") {
  if (processes() < 2) return;
  mpi::communicator world{MPI_COMM_WORLD};
  arrays model{world.rank() == 1 ? std::vector<std::size_t>{3, 5} : std::vector<std::size_t>{3, 4}};
  const auto make = [&] { data_parallel<arrays, distributed<>> replica{model, world}; };
  CHECK_THROWS_WITH_AS(make(),
                       Contains("parameter 1 (layer1.weight) is 5 on rank 1 and 4 on rank 0"),
                       mismatch_error);
}

TEST_CASE("a backward pass that throws on one rank") {
  if (processes() < 2) return;
  for (const overlap how : {overlap::none, overlap::by_thread}) {
    mpi::communicator world{MPI_COMM_WORLD, {.timeout = std::chrono::seconds{20}}};
    arrays model{sizes};
    data_parallel<arrays, distributed<>> replica{model, world, {.overlap = how}};
    MPI_Barrier(MPI_COMM_WORLD);
    const auto pass = [&] {
      replica.backward([&](auto&& ready) {
        if (world.rank() == 1) throw std::runtime_error{"sample 27 is torn"};
        ready(0, sizes.size());
      });
    };
    if (world.rank() == 1)
      CHECK_THROWS_WITH(pass(), "sample 27 is torn");
    else
      CHECK_THROWS_WITH_AS(pass(), Contains("rank 1 threw: sample 27 is torn"), rank_lost_error);
    MPI_Barrier(MPI_COMM_WORLD);
  }
}

TEST_CASE("norms and moments over all ranks") {
  mpi::communicator world{MPI_COMM_WORLD};
  std::vector<std::vector<float>> part{{3.0f, 0.0f}, {4.0f}};
  CHECK(gradient_norm(world, part) == doctest::Approx(5 * std::sqrt(world.size())));
  CHECK(gradient_norm(world, part, 1) == 7.0 * world.size());
  const auto n = static_cast<double>(world.size());
  const double mine = world.rank();
  const auto moments = synchronized_moments(world, {channel_moments{1, mine, 0}});
  CHECK(moments[0].count == n);
  CHECK(moments[0].mean == doctest::Approx((n - 1) / 2));
  CHECK(moments[0].variance() == doctest::Approx((n * n - 1) / 12));
}
