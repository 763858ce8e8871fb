// Uneven inputs, unused parameters, accumulation, compression, local SGD and clipping: by every
// algorithm, on 1 to 5 ranks, with and without a thread that reduces meanwhile, against the same
// training in one process.
#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"
#include "serial_training.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

namespace {

using namespace allfold;
using namespace outcomes;
using outcomes::at;
using training::record;
using training::task;
using world_type = threads::communicator;
using tiny = buckets<100, 200>;

/// A strategy on threads, with its type hidden.
struct way {
  std::string name;
  training::rules how;
  record (*train)(world_type&, const task&);
};

template <class Algorithm>
way plain(const char* name) {
  return {name,
          {training::folds_of<Algorithm>},
          &training::train<distributed<Algorithm, tiny>, world_type>};
}
/// The first step reduces gradients; then every second one averages parameters.
template <class Algorithm>
way local(const char* name) {
  return {name,
          {.fold = training::folds_of<Algorithm>, .every = 2, .from = 1},
          &training::train<local_sgd<2, 1, distributed<Algorithm, tiny>>, world_type>};
}
template <class Algorithm>
way compressing(const char* name) {
  using strategy = distributed<Algorithm, tiny, training::chosen_compression>;
  return {name,
          {.fold = training::folds_of<Algorithm>, .compresses = true},
          &training::train<strategy, world_type>};
}

const std::vector<way> reducing{plain<direct>("direct"),
                                plain<ring>("ring"),
                                plain<tree>("tree"),
                                plain<halving_doubling>("halving_doubling"),
                                plain<primary<>>("primary"),
                                {"primary_device",
                                 {.fold = training::folds_of<direct>, .root = 0},
                                 &training::train<primary_device<0, tiny>, world_type>}};
const std::vector<way> averaging{local<direct>("direct"), local<ring>("ring"), local<tree>("tree"),
                                 local<halving_doubling>("halving_doubling"),
                                 local<primary<>>("primary")};
const std::vector<way> narrowing{
    compressing<direct>("direct"), compressing<ring>("ring"), compressing<tree>("tree"),
    compressing<halving_doubling>("halving_doubling"), compressing<primary<>>("primary")};

/// What all ranks come to by replicas.
std::vector<record> trained(const way& by, int ranks, const task& what) {
  std::vector<record> all(at(ranks));
  for (const outcome& each :
       run_ranks(ranks, [&](auto& world) { all[at(world.rank())] = by.train(world, what); }))
    CHECK_MESSAGE(each.how == ending::returned, each.text);
  return all;
}
std::vector<record> trained_serially(const way& by, int ranks, const task& what) {
  return training::serial_training{by.how, ranks, what}.run();
}

bool equal(const record& a, const record& b) {
  return models::same_bits(a.gradients, b.gradients) &&
         models::same_bits(a.parameters, b.parameters) &&
         std::ranges::equal(a.norms, b.norms,
                            [](double x, double y) { return std::abs(x - y) <= 1e-12 * y; });
}
bool equal(const std::vector<record>& a, const std::vector<record>& b) {
  return std::ranges::equal(a, b, [](const record& x, const record& y) { return equal(x, y); });
}

/// All ways come to the bits of the serial training, and to them whether a thread reduces or not.
void check(const std::vector<way>& ways, task what) {
  bool by_thread = false;
  for (const way& by : ways)
    for (int ranks = 1; ranks <= 5; ++ranks, by_thread = !by_thread) {
      what.options.overlap = by_thread ? overlap::by_thread : overlap::none;
      CAPTURE(by.name);
      CAPTURE(ranks);
      CHECK(equal(trained(by, ranks, what), trained_serially(by, ranks, what)));
    }
}
/// Another training than the one that ranks are said to run is noticed.
void check_noticed(const std::vector<way>& ways, const task& what, const task& other) {
  for (const way& by : ways) {
    CAPTURE(by.name);
    CHECK_FALSE(equal(trained(by, 3, what), trained_serially(by, 3, other)));
  }
}
/// No rank comes to an end, and all say this.
void check_refused(const std::vector<way>& ways, const task& what, const std::string& why) {
  for (const way& by : ways)
    for (int ranks = 2; ranks <= 5; ++ranks)
      for (const outcome& each : run_ranks(ranks, [&](auto& world) { by.train(world, what); })) {
        CAPTURE(by.name);
        CHECK(each.how == ending::usage);
        CHECK_MESSAGE(each.says(why), each.text);
      }
}

constexpr join_options by_live{.divide_by = divide_by::live_ranks};

}  // namespace

TEST_CASE("uneven inputs: ranks that are through shadow the others") {
  check(reducing, {.uneven = true});
  check(reducing, {.options = {.scale = scale::mean_over_samples}, .uneven = true});
  check(reducing, {.options = {.scale = scale::sum}, .passes = 2, .uneven = true});
  check(reducing,
        {.options = {.unused = unused::keep}, .skips = true, .uneven = true, .join = by_live});
}
TEST_CASE("uneven inputs: without the optimizer the last one's model wins") {
  const std::vector<way> all_step{reducing.begin(), reducing.end() - 1};
  check(all_step,
        {.options = {.scale = scale::mean_over_samples}, .uneven = true, .shadows_step = false});
}
TEST_CASE("uneven inputs: what the mean is of is seen in the bits") {
  const task all{.uneven = true}, live{.uneven = true, .join = by_live};
  check_noticed(reducing, all, live);
  check_noticed(reducing, live, all);
  check_noticed(reducing, all, {.options = {.scale = scale::mean_over_samples}, .uneven = true});
}
TEST_CASE("uneven inputs: all are told as soon as one is through") {
  check_refused(reducing, {.uneven = true, .join = {.throw_early = true}},
                "has no inputs any more while others have");
}
TEST_CASE("uneven inputs: without a join those that go on are told") {
  for (const way& by : reducing)
    for (int ranks = 2; ranks <= 5; ++ranks) {
      const auto all =
          run_ranks(ranks, [&](auto& world) { by.train(world, {.uneven = true, .joins = false}); });
      CAPTURE(by.name);
      CHECK_MESSAGE(all[1].how == ending::lost, all[1].text);
    }
}

TEST_CASE("unused parameters are zeros, or stay as they were where nobody uses them") {
  const task zeros{.options = {.unused = unused::zero}, .skips = true};
  const task kept{.options = {.unused = unused::keep}, .skips = true};
  check(reducing, kept);
  check(reducing,
        {.options = {.scale = scale::mean_over_samples, .unused = unused::zero}, .skips = true});
  check_noticed(reducing, zeros, kept);
  check_noticed(reducing, kept, zeros);
}
TEST_CASE("unused parameters are an error unless they are allowed for") {
  check_refused(reducing, {.skips = true}, "parameter 1 (layer1.weight) was never ready");
}

TEST_CASE("accumulation: gradients of all passes are reduced once") {
  check(reducing, {.passes = 3});
  check(reducing, {.options = {.unused = unused::keep}, .passes = 2, .skips = true});
  const task sum{.options = {.scale = scale::sum}, .passes = 2};
  task unguarded = sum;
  unguarded.guards = false;
  check_noticed(reducing, unguarded, sum);
}

TEST_CASE("compression: by a replica as by itself") {
  using chosen = training::chosen_compression::all;
  const chosen brain{std::in_place_index<0>}, half_{std::in_place_index<1>};
  const chosen largest{std::in_place_index<2>}, forgetful{std::in_place_index<3>};
  check(narrowing, {.compression = brain});
  check(narrowing, {.compression = largest});
  check(narrowing, {.options = {.scale = scale::sum}, .compression = half_, .passes = 2});
  check(narrowing, {.options = {.unused = unused::zero}, .compression = half_, .skips = true});
  check(narrowing,
        {.options = {.scale = scale::mean_over_samples}, .compression = largest, .uneven = true});
  check_noticed(narrowing, {.compression = brain}, {.compression = half_});
  check_noticed(narrowing, {.compression = forgetful}, {.compression = largest});
  check_noticed(narrowing, {.compression = largest}, {.compression = forgetful});
}

namespace {

/// PowerSGD that begins with a Q of the test's.
training::chosen_compression::all given_power_sgd(std::size_t size) {
  std::variant_alternative_t<4, training::chosen_compression::all> it;
  it.visit_state([&](const std::string& name, auto& value) {
    if constexpr (std::is_integral_v<std::remove_reference_t<decltype(value)>>)
      value = name == "stretches" ? 1 : 0;
    else if (name == "0.q")
      value = models::noise<float>(size, 9);
  });
  return it;
}

}  // namespace

TEST_CASE("compression: power_sgd is near what it comes to in double, and equal on all ranks") {
  for (const way& by : narrowing)
    for (int ranks = 1; ranks <= 5; ++ranks)
      for (const bool uneven : {false, true}) {
        const task what{.sizes = {400},
                        .options = {.overlap = ranks % 2 == 0 ? overlap::none : overlap::by_thread},
                        .compression = given_power_sgd(40),
                        .uneven = uneven};
        const auto found = trained(by, ranks, what);
        const auto expected = trained_serially(by, ranks, what);
        CAPTURE(by.name);
        CAPTURE(ranks);
        for (std::size_t rank = 0; rank < at(ranks); ++rank) {
          CHECK(distance(found[rank], expected[rank]) < 1e-5);
          if (!uneven) CHECK(equal(found[rank], found[0]));
        }
      }
}
TEST_CASE("compression: another Q to begin with is another power_sgd") {
  const task what{.sizes = {400}, .compression = given_power_sgd(40)};
  task other = what;
  std::get<4>(other.compression).visit_state([](const std::string&, auto& value) {
    if constexpr (!std::is_integral_v<std::remove_reference_t<decltype(value)>>)
      std::ranges::reverse(value);
  });
  for (const way& by : narrowing)
    CHECK(distance(trained(by, 3, what)[0], trained_serially(by, 3, other)[0]) > 0.01);
}

TEST_CASE("local SGD: parameters are averaged now and then") {
  check(averaging, {});
  check(averaging, {.options = {.scale = scale::sum}, .passes = 2});
  for (const unused policy : {unused::zero, unused::keep})
    check(averaging, {.options = {.unused = policy}, .skips = true});
  std::vector<way> never = averaging;
  for (way& by : never) by.how.every = 0;
  check_noticed(never, {}, {});
}

TEST_CASE("clipping: after a reduction to the norm of what was reduced") {
  const task clipped{.largest_norm = 2};
  for (const way& by : reducing) CHECK(std::ranges::min(trained(by, 3, clipped)[0].norms) > 3);
  check(reducing, clipped);
  check(reducing, {.passes = 2, .uneven = true, .join = by_live, .largest_norm = 2});
  check(averaging, clipped);
  check_noticed(reducing, clipped, {});
  check_noticed(reducing, {}, clipped);
}
