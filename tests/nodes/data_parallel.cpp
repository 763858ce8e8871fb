// Training on several nodes: by direct to the bits of one node, by hierarchical alike on all ranks.
#include <allfold/allfold.hpp>

#include "../data_parallel/serial_training.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "support/engine.hpp"
#include "support/nodes.hpp"

namespace {

using allfold::direct;
using allfold::distributed;
using allfold::hierarchical;
using allfold::in_rank_order;
using allfold::primary_device;
using allfold::ring;
using allfold::tree;
using test::shape;
template <class T>
using parameters = std::vector<std::vector<T>>;

const std::vector<std::size_t> sizes{37, 2500, 0, 1, 801};

/// Trains a model for a few steps, with gradients of this rank's own; what it comes to.
template <class Strategy, class T, class World>
parameters<T> trained(World& world, allfold::data_parallel_options options = {}) {
  using model_type = models::arrays<T>;
  model_type model{sizes};
  model.fill(static_cast<T>(static_cast<float>(world.rank())), T{});  // rank 0's are to be taken
  allfold::data_parallel<model_type, Strategy> replica{model, world, options};
  for (unsigned step = 0; step < 4; ++step) {
    replica.backward(
        [&](auto&& ready) {
          for (std::size_t i = sizes.size(); i-- > 0;) {
            const std::vector<T> gradient = models::noise<T>(
                sizes[i], 100 * step + 10 * static_cast<unsigned>(world.rank()) + 1);
            std::copy(gradient.begin(), gradient.end(), model.slopes[i].begin());
            ready(i);
          }
        },
        static_cast<std::size_t>(world.rank()) + 1);
    replica.step([](auto parameter, auto gradient) {
      for (std::size_t i = 0; i < parameter.size(); ++i)
        parameter[i] = static_cast<T>(static_cast<float>(parameter[i]) -
                                      0.1f * static_cast<float>(gradient[i]));
    });
  }
  return model.values;
}

/// The same on so many ranks of a single node, and on every rank of several.
template <class Strategy, class T>
parameters<T> on_one_node(int ranks, allfold::data_parallel_options options = {}) {
  parameters<T> result;
  allfold::spawn(ranks, [&](test::threads& flat) {
    const parameters<T> own = trained<Strategy, T>(flat, options);
    if (flat.rank() == 0) result = own;
  });
  return result;
}
template <class Strategy, class T>
std::vector<parameters<T>> on_nodes(shape its, allfold::data_parallel_options options = {}) {
  std::vector<parameters<T>> results(static_cast<std::size_t>(its.nodes * its.lanes));
  allfold::spawn(its.nodes * its.lanes, [&](test::threads& flat) {
    test::world whole{flat, its};
    allfold::nodes::communicator<test::threads, test::threads>& world = whole;
    results[static_cast<std::size_t>(world.rank())] = trained<Strategy, T>(world, options);
  });
  return results;
}

template <class T>
bool equal(const parameters<T>& a, const parameters<T>& b) {
  for (std::size_t i = 0; i < sizes.size(); ++i)
    if (!models::same_bits(a[i], b[i])) return false;
  return true;
}
/// The largest difference of two parameters.
template <class T>
double distance(const parameters<T>& a, const parameters<T>& b) {
  double most = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    for (std::size_t k = 0; k < sizes[i]; ++k)
      most = std::max(most, std::abs(static_cast<double>(static_cast<float>(a[i][k])) -
                                     static_cast<double>(static_cast<float>(b[i][k]))));
  return most;
}

/// Every rank of every shape comes to the bits of a single node.
template <class Strategy, class T>
void check_equal(allfold::data_parallel_options options = {}) {
  const auto expected = on_one_node<Strategy, T>(6, options);
  for (const shape its : {shape{1, 6}, {2, 3}, {3, 2}, {6, 1}}) {
    CAPTURE(its.nodes);
    for (const auto& own : on_nodes<Strategy, T>(its, options)) CHECK(equal(own, expected));
  }
}

}  // namespace

TEST_CASE("direct and primary_device train to the bits of a single node") {
  check_equal<distributed<direct>, float>();
  check_equal<distributed<direct>, allfold::bfloat16>();
  check_equal<primary_device<>, float>();
  check_equal<primary_device<>, allfold::half>();
  check_equal<distributed<direct>, float>({.scale = allfold::scale::mean_over_samples});
  check_equal<allfold::local_sgd<3, 1, distributed<direct>>, float>();
}

TEST_CASE("a thread that reduces meanwhile gives the same bits") {
  check_equal<distributed<direct>, float>({.overlap = allfold::overlap::by_thread});
}

TEST_CASE_TEMPLATE("hierarchical trains to the same bits on all ranks", strategy,
                   distributed<hierarchical<>>, distributed<>,
                   distributed<hierarchical<ring, tree>>, distributed<hierarchical<tree, ring>>,
                   distributed<hierarchical<direct, in_rank_order>>) {
  const auto nearly = on_one_node<distributed<direct>, float>(6);
  for (const auto how : {allfold::overlap::none, allfold::overlap::by_thread})
    for (const shape its : {shape{1, 6}, {2, 3}, {3, 2}, {6, 1}}) {
      CAPTURE(its.nodes);
      const auto all = on_nodes<strategy, float>(its, {.overlap = how});
      for (const auto& own : all) CHECK(equal(own, all[0]));
      CHECK(distance(all[0], nearly) < 1e-5);
    }
}

TEST_CASE("the order of the folds is seen in the bits: nodes are not one node") {
  const auto flat = on_one_node<distributed<direct>, float>(6);
  CHECK(!equal(on_nodes<distributed<hierarchical<direct, direct>>, float>({3, 2})[0], flat));
  CHECK(equal(on_nodes<distributed<hierarchical<direct, direct>>, float>({1, 6})[0], flat));
}

TEST_CASE("strategies train with an engine across nodes") {
  using engine = test::engine_over<test::threads>;
  const auto expected = on_one_node<distributed<direct>, float>(4);
  const auto expected_near = on_nodes<distributed<hierarchical<direct, direct>>, float>({2, 2})[0];
  allfold::spawn(4, [&](test::threads& flat) {
    auto inside = flat.split(flat.rank() / 2);
    engine across{flat.split(flat.rank() % 2)};
    allfold::nodes::communicator world{std::move(inside), std::move(across), test::fine_cut};
    CHECK(equal(trained<distributed<direct>, float>(world), expected));
    CHECK(equal(trained<primary_device<>, float>(world), expected));
    CHECK(equal(trained<distributed<hierarchical<direct, allfold::native>>, float>(world),
                expected_near));
    CHECK(equal(trained<distributed<>, float>(world), expected_near));
  });
}

namespace {

using training::record;
using training::task;
using node_world = allfold::nodes::communicator<test::threads, test::threads>;
using few_bytes = allfold::buckets<100, 200>;

/// A training by hierarchical, and how close it comes to one process that folds in rank order.
struct feature {
  const char* name;
  task what;
  training::rules how{training::folds_of<direct>};
  double tolerance = 1e-5;
};

/// Every rank's training by `train`, on nodes.
std::vector<record> trained_on(shape its, record (*train)(node_world&, const task&),
                               const task& what) {
  std::vector<record> all(static_cast<std::size_t>(its.nodes * its.lanes));
  allfold::spawn(its.nodes * its.lanes, [&](test::threads& flat) {
    test::world world{flat, its};
    all[static_cast<std::size_t>(world.rank())] = train(world, what);
  });
  return all;
}
std::vector<record> trained_serially(int ranks, const feature& it) {
  return training::serial_training{it.how, ranks, it.what}.run();
}
/// The numbers that ranks must have alike in the end: the last parameters, but under local SGD
/// those that were averaged in the step before.
std::vector<float> common_end(const record& its, const feature& it) {
  std::size_t count = 0;
  for (const std::size_t size : it.what.sizes) count += size;
  const auto end = its.parameters.end() - static_cast<long>(it.how.every > 0 ? 2 * count : 0);
  return {end - static_cast<long>(count), end};
}

void check_feature(record (*train)(node_world&, const task&), const feature& it) {
  CAPTURE(it.name);
  for (const shape its : {shape{1, 1}, {2, 1}, {1, 3}, {3, 1}, {2, 2}, {5, 1}, {1, 5}}) {
    CAPTURE(its.nodes);
    CAPTURE(its.lanes);
    const auto found = trained_on(its, train, it.what);
    const auto expected = trained_serially(its.nodes * its.lanes, it);
    for (std::size_t rank = 0; rank < found.size(); ++rank) {
      CHECK(training::distance(found[rank], expected[rank]) < it.tolerance);
      CHECK(models::same_bits(common_end(found[rank], it), common_end(found[0], it)));
    }
  }
}

const task all_ranks{.uneven = true};
const task live_ranks{.uneven = true, .join = {.divide_by = allfold::divide_by::live_ranks}};
const task samples{.options = {.scale = allfold::scale::mean_over_samples}, .uneven = true};
const task zeros{.options = {.unused = allfold::unused::zero}, .passes = 2, .skips = true};
const task kept{.options = {.unused = allfold::unused::keep}, .skips = true};
const task accumulated{.passes = 3};
const task clipped{.largest_norm = 2};
const task narrowed{.compression = training::chosen_compression::all{std::in_place_index<1>}};
const task selected{.compression = training::chosen_compression::all{std::in_place_index<2>},
                    .uneven = true};
constexpr training::rules by_local_sgd{.fold = training::folds_of<direct>, .every = 2, .from = 1};
constexpr training::rules compressing{.fold = training::folds_of<direct>, .compresses = true};

}  // namespace

TEST_CASE_TEMPLATE("uneven inputs, unused parameters and the like go with hierarchical", algorithm,
                   hierarchical<>, hierarchical<ring, tree>) {
  const auto reducing = &training::train<distributed<algorithm, few_bytes>, node_world>;
  const auto averaging =
      &training::train<allfold::local_sgd<2, 1, distributed<algorithm, few_bytes>>, node_world>;
  const auto narrowing =
      &training::train<distributed<algorithm, few_bytes, training::chosen_compression>, node_world>;
  check_feature(reducing, {"all ranks", all_ranks});
  check_feature(reducing, {"live ranks", live_ranks});
  check_feature(reducing, {"samples", samples});
  check_feature(reducing, {"zero", zeros});
  check_feature(reducing, {"keep", kept});
  check_feature(reducing, {"accumulation", accumulated});
  check_feature(reducing, {"clipping", clipped});
  check_feature(averaging, {"local SGD", {}, by_local_sgd});
  check_feature(narrowing, {"wire", narrowed, compressing, 0.01});
  check_feature(narrowing, {"top_k", selected, compressing});
}
TEST_CASE("another training than that is further away, by hierarchical too") {
  const auto train = &training::train<distributed<hierarchical<>, few_bytes>, node_world>;
  task cleared = kept;
  cleared.options.unused = allfold::unused::zero;
  const std::pair<task, task> pairs[] = {
      {all_ranks, live_ranks}, {live_ranks, samples}, {kept, cleared}, {clipped, {}}};
  for (const auto& [what, other] : pairs)
    CHECK(training::distance(trained_on({2, 2}, train, what)[1],
                             trained_serially(4, {"other", other})[1]) > 0.02);
}
