// Replicas go on after ranks were lost: to which bits, and with which samples.
#include <allfold/data_parallel/continuation.hpp>

#include <allfold/allfold.hpp>
#include <allfold/data_parallel/power_sgd.hpp>
#include <allfold/data_parallel/top_k.hpp>

#include "communicator/outcome.hpp"
#include "surviving.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <random>

namespace {

using namespace outcomes;
using namespace surviving;
using allfold::bfloat16;
using allfold::buckets;
using allfold::direct;
using allfold::distributed;
using allfold::error_feedback;
using allfold::interrupted;
using allfold::local_sgd;
using allfold::overlap;
using allfold::primary_device;
using allfold::ring;
using allfold::tree;

using small_buckets = buckets<16, 64>;

/// A rank ends at a moment of a step.
struct loss {
  int rank;
  moment when;
  std::uint64_t step;
};

/// Runs a training from which ranks are lost; what became of each.
template <class Strategy>
std::vector<result> run_with(int size, const std::vector<loss>& losses, const plan& given) {
  std::vector<result> all(at(size));
  run_ranks(size, [&](auto& world) {
    result& mine = all[at(world.rank())];
    const int before = world.rank();
    train<Strategy>(world, mine, given, [&](moment when, std::uint64_t step) {
      for (const loss& each : losses)
        if (each.rank == before && each.when == when && each.step == step)
          throw std::domain_error{"lost"};
    });
  });
  return all;
}

/// What the ranks hold alike in the end.
enum class alike { all, parameters, nothing };

/// The ranks that are left have finished, alike.
const result& check_survivors(const std::vector<result>& all, const std::vector<loss>& losses,
                              alike what = alike::all) {
  const result* first = nullptr;
  int left = 0;
  for (int rank = 0; rank < static_cast<int>(all.size()); ++rank) {
    const bool is_lost = std::any_of(losses.begin(), losses.end(),
                                     [&](const loss& each) { return each.rank == rank; });
    const result& its = all[at(rank)];
    CAPTURE(rank);
    CAPTURE(its.failed);
    REQUIRE(its.finished == !is_lost);
    if (is_lost) continue;
    if (first == nullptr) first = &its;
    CHECK(its.rank == left++);
    if (what != alike::nothing) CHECK(its.state.same_bits(first->state));
    if (what == alike::all) CHECK(its.state.speed == first->state.speed);
    CHECK(its.steps == first->steps);
    CHECK(its.history.size == first->history.size);
  }
  REQUIRE(first != nullptr);
  CHECK(first->size == left);
  CHECK(first->failures > 0);
  CHECK(first->steps == first->history.size);
  return *first;
}

/// Loses one rank, at every moment.
template <class Strategy>
void check_losses(plan given, int first_culprit = 0) {
  constexpr bool folds_in_order = std::is_same_v<Strategy, distributed<direct, small_buckets>>;
  constexpr bool counts = std::is_same_v<typename Strategy::compression, allfold::uncompressed> &&
                          !allfold::data_parallel<training, Strategy>::averages_parameters;
  constexpr alike what = !Strategy::steps_everywhere ? alike::parameters
                         : allfold::data_parallel<training, Strategy>::averages_parameters
                             ? alike::nothing
                             : alike::all;
  int turn = 0;
  for (int size = 2; size <= 5; ++size)
    for (const moment when : all_moments) {
      if (when == moment::in_optimizer && !Strategy::steps_everywhere) continue;
      const int culprit = first_culprit + turn++ % (size - first_culprit);
      const std::vector<loss> losses{{culprit, when, static_cast<std::uint64_t>(2 + turn % 4)}};
      CAPTURE(size);
      CAPTURE(culprit);
      CAPTURE(static_cast<int>(when));
      CAPTURE(losses[0].step);
      const auto all = run_with<Strategy>(size, losses, given);
      const result& its = check_survivors(all, losses, what);
      CHECK(flaw_in(its.history, static_cast<int>(all.size()),
                    given.how == interrupted::drop ? its.failures : 0) == "");
      CHECK(its.state.same_bits(trained_from<Strategy>(its.last, given)));
      if constexpr (counts) {
        const auto expected = expected_counts(its.history);
        CHECK(std::equal(expected.begin(), expected.end(), its.state.counts.begin()));
      }
      if constexpr (folds_in_order)
        CHECK(its.state.same_bits(trained_serially(its.history, false)));
    }
}

/// primary_device, one of whose ranks ends while parameters are sent in step 2, after `shares`
/// calls.
struct breaking_primary : primary_device<0, small_buckets> {
  static inline int culprit, shares;
  static inline std::atomic<int> receiving;  ///< parameters: these ranks
  static inline thread_local int rank, calls = -1;

  template <class World, class Elements>
  static void share(World& world, Elements parameter, std::source_location where) {
    if (calls >= 0 && ++calls == 2 && rank != 0) ++receiving;
    if (calls == shares + 1 && rank == culprit) {
      while (rank == 0 && shares > 0 && receiving < 2) std::this_thread::yield();
      throw std::domain_error{"lost"};
    }
    primary_device<0, small_buckets>::share(world, parameter, where);
  }
};

struct parts {
  int number = 0;
  std::vector<double> numbers;
  void share_state(auto&& share) {
    share(number);
    share(numbers);
  }
};

}  // namespace

TEST_CASE("the step in which a rank was lost is repeated by the others, to the last bit") {
  check_losses<distributed<direct, small_buckets>>({.overlap = overlap::none});
  check_losses<distributed<direct, small_buckets>>({.overlap = overlap::by_thread});
}

TEST_CASE("or its samples are dropped") {
  check_losses<distributed<direct, small_buckets>>({.how = interrupted::drop});
  check_losses<primary_device<0, small_buckets>>(
      {.how = interrupted::drop, .overlap = overlap::by_thread}, 1);
}

TEST_CASE("by other algorithms too") {
  check_losses<distributed<ring, small_buckets>>({.overlap = overlap::by_thread});
  check_losses<distributed<tree, small_buckets>>({.rebuild = true});
  check_losses<distributed<>>({.overlap = overlap::by_thread, .rebuild = true});
}

TEST_CASE("a primary goes on without others") {
  check_losses<primary_device<0, small_buckets>>({.overlap = overlap::none}, 1);
}

TEST_CASE("ranks that step by themselves go on from one of them") {
  check_losses<local_sgd<3, 2, distributed<direct, small_buckets>>>({});
}

TEST_CASE("a step that was taken but for the average is not taken again") {
  // The fifth step is followed by an average, which rank 1 does not come to.
  const std::vector<loss> losses{{1, moment::after_backward, 4}};
  const auto all = run_with<local_sgd<3, 2>>(3, losses, {});
  const result& its = check_survivors(all, losses, alike::nothing);
  CHECK(its.cut == 1);
  CHECK(its.last.steps == 5);
  CHECK(flaw_in(its.history, static_cast<int>(all.size()), 0) == "");
}

TEST_CASE("a compression begins anew") {
  using allfold::power_sgd;
  using allfold::power_sgd_options;
  check_losses<distributed<direct, buckets<>, allfold::wire<bfloat16, error_feedback::on>>>({});
  check_losses<distributed<direct, buckets<>, power_sgd<1, power_sgd_options{.start_step = 2}>>>(
      {});
  check_losses<distributed<direct, small_buckets, allfold::top_k<100>>>(
      {.overlap = overlap::by_thread});
}

TEST_CASE("one rank after the other is lost, until one trains alone") {
  for (const interrupted how : {interrupted::repeat, interrupted::drop}) {
    const std::vector<loss> losses{{4, moment::in_engine, 1},
                                   {0, moment::after_backward, 2},
                                   {2, moment::after_step, 4},
                                   {3, moment::before_backward, 6}};
    const plan given{.how = how, .overlap = overlap::by_thread};
    const auto all = run_with<distributed<direct, small_buckets>>(5, losses, given);
    const result& its = check_survivors(all, losses);
    CHECK(its.failures == 4);
    CHECK(its.size == 1);
    CHECK(flaw_in(its.history, static_cast<int>(all.size()), how == interrupted::drop ? 4 : 0) ==
          "");
    CHECK(its.state.same_bits(trained_serially(its.history, false)));
  }
}

TEST_CASE("ranks that have missed a step take it from those that have not") {
  std::vector<training> states(2);
  std::vector<allfold::continuation> found(2);
  run_ranks(2, [&](auto& world) {
    training& it = states[at(world.rank())];
    allfold::data_parallel<training, distributed<direct>> replica{it, world,
                                                                  options_of(overlap::none)};
    std::vector<std::size_t> batch{1, 2, 3};
    replica.backward([&](auto&& ready) { it.backward(batch, ready, [] {}); });
    if (world.rank() == 1) replica.step(it);
    world = world.shrink();
    found[at(world.rank())] = replica.continue_on(world, [&](auto&& share) { share(it.speed); });
    if (replica.steps() != 1) throw std::logic_error{"a wrong number of steps"};
    replica.backward([&](auto&& ready) { it.backward(batch, ready, [] {}); });
    replica.step(it);
  });
  CHECK(found[0].adopted);
  CHECK(!found[1].adopted);
  CHECK(found[0].source == 1);
  CHECK(found[0].steps == 1);
  CHECK(states[0].same_bits(states[1]));
  CHECK(states[0].speed == states[1].speed);
  CHECK(states[0].counts[2] == 4);
}

TEST_CASE("of those that have come as far, what most of them hold counts") {
  std::vector<training> states(5);
  std::vector<allfold::continuation> found(5);
  run_ranks(5, [&](auto& world) {
    training& it = states[at(world.rank())];
    allfold::data_parallel<training, distributed<direct>> replica{it, world,
                                                                  options_of(overlap::none)};
    it.values.fill(world.rank() < 2 ? 7.0f + static_cast<float>(world.rank()) : 3.0f);
    if (world.rank() == 4) it.values[unknowns - 1] = 4;
    world = world.shrink();
    found[at(world.rank())] = replica.continue_on(world, allfold::stateless);
  });
  for (const training& each : states)
    CHECK(std::all_of(each.values.begin(), each.values.end(), [](float it) { return it == 3; }));
  for (int rank = 0; rank < 5; ++rank) {
    CHECK(found[at(rank)].source == 2);
    CHECK(found[at(rank)].adopted == (rank != 2 && rank != 3));
  }
}

TEST_CASE("a failure in a backward pass leaves the parameters as they were") {
  for (const overlap how : {overlap::none, overlap::by_thread})
    for (int culprit = 0; culprit < 3; ++culprit) {
      std::vector<char> same(3, 1);
      run_ranks(3, [&](auto& world) {
        training it;
        const int before = world.rank();
        allfold::data_parallel<training, distributed<ring, small_buckets>> replica{it, world,
                                                                                   options_of(how)};
        const std::vector<std::size_t> batch{at(before), 10, 20, 30};
        replica.backward([&](auto&& ready) { it.backward(batch, ready, [] {}); });
        replica.step(it);
        const training then = it;
        const outcome failed = attempt([&] {
          replica.backward([&](auto&& ready) {
            it.backward(batch, ready, [&] {
              if (before == culprit) throw std::domain_error{"lost"};
            });
          });
        });
        same[at(before)] = failed.told() && it.same_bits(then) && replica.steps() == 1;
        if (before == culprit) throw std::domain_error{failed.text};
        world = world.shrink();
        const auto found = replica.continue_on(world, allfold::stateless);
        same[at(before)] &= !found.adopted && it.same_bits(then) && found.steps == 1;
      });
      CHECK(same == std::vector<char>(3, 1));
    }
}

TEST_CASE("if the rank is lost that stepped, the optimizer's state is lost") {
  using strategy = primary_device<0, small_buckets>;
  for (const moment when : all_moments) {
    CAPTURE(static_cast<int>(when));
    const std::vector<loss> losses{{0, when, 3}};
    for (const result& each : run_with<strategy>(3, losses, {.overlap = overlap::by_thread})) {
      CHECK(!each.finished);
    }
    auto all = run_with<strategy>(3, losses, {});
    for (int rank = 1; rank < 3; ++rank) {
      const std::string told = all[at(rank)].failed;
      CAPTURE(told);
      CHECK(told.find("allfold: rank " + std::to_string(rank - 1) +
                      ", continue_on at surviving.hpp:") == 0);
      // Those to whom it was still sending parameters when it was lost hold no whole ones.
      const bool halves = when == moment::after_step &&
                          told.find("no rank that is left holds whole") != std::string::npos;
      CHECK((halves || told.find("the rank is lost that stepped") != std::string::npos));
    }
    if (when == moment::after_step) continue;
    const plan given{.new_primary = true};
    all = run_with<strategy>(3, losses, given);
    const result& its = check_survivors(all, losses, alike::parameters);
    CHECK(flaw_in(its.history, static_cast<int>(all.size()), 0) == "");
    CHECK(its.state.same_bits(trained_serially(its.history, true)));
  }
  // Before the first step there is nothing to be lost.
  const std::vector<loss> losses{{0, moment::in_engine, 0}};
  const auto all = run_with<strategy>(3, losses, {});
  const result& its = check_survivors(all, losses, alike::parameters);
  CHECK(its.state.same_bits(trained_serially(its.history, false)));
}

TEST_CASE("a primary by another number takes its state along") {
  // Rank 1 steps, becomes rank 0 when rank 0 is lost, and rank 2 steps from then on.
  const std::vector<loss> losses{{0, moment::in_engine, 4}};
  const auto all = run_with<primary_device<1, small_buckets>>(4, losses, {});
  const result& its = check_survivors(all, losses, alike::parameters);
  CHECK(its.source == 0);
  CHECK(its.state.same_bits(trained_serially(its.history, false)));
}

TEST_CASE("if the strategy has nobody step any more, all are told so") {
  const std::vector<loss> losses{{0, moment::in_engine, 4}};
  const auto all = run_with<primary_device<2, small_buckets>>(3, losses, {});
  for (int rank = 1; rank < 3; ++rank) {
    const std::string told = all[at(rank)].failed;
    CHECK_MESSAGE(
        told.find("among 2 ranks that are left there is none that the strategy has step") !=
            std::string::npos,
        told);
  }
}

TEST_CASE("parameters that were half sent are repaired, unless nobody has them whole") {
  for (int culprit = 0; culprit < 3; ++culprit)
    for (int shares = 0; shares < 3; ++shares) {  // the first one says that the step is taken
      std::vector<result> all(3);
      breaking_primary::culprit = culprit;
      breaking_primary::shares = shares;
      breaking_primary::receiving = 0;
      run_ranks(3, [&](auto& world) {
        breaking_primary::rank = world.rank();
        breaking_primary::calls = -1;
        train<breaking_primary>(world, all[at(world.rank())], {.new_primary = true},
                                [&](moment when, std::uint64_t step) {
                                  if (step == 2 && when == moment::after_backward)
                                    breaking_primary::calls = 0;
                                  if (step != 2) breaking_primary::calls = -1;
                                });
      });
      CAPTURE(culprit);
      CAPTURE(shares);
      if (culprit == 0 && shares > 0) {
        for (int rank = 1; rank < 3; ++rank) {
          const std::string told = all[at(rank)].failed;
          CAPTURE(told);
          CHECK(told.find("no rank that is left holds whole parameters") != std::string::npos);
        }
        continue;
      }
      const result& its =
          check_survivors(all, {{culprit, moment::in_engine, 2}}, alike::parameters);
      CHECK(flaw_in(its.history, static_cast<int>(all.size()), 0) == "");
      CHECK(its.state.same_bits(trained_serially(its.history, culprit == 0)));
    }
}

TEST_CASE("nothing may be called before a failed continue_on has been repeated") {
  std::vector<outcome> told(2);
  std::vector<training> states(3);
  const auto ends = run_ranks(3, [&](auto& world) {
    training& it = states[at(world.rank())];
    allfold::data_parallel<training, distributed<direct>> replica{it, world,
                                                                  options_of(overlap::none)};
    world = world.shrink();
    allfold::barrier(world);  // who leaves before all are there is left out by `shrink` itself
    if (world.rank() == 2) return;
    const outcome failed =
        attempt([&] { replica.continue_on(world, [&](auto&& share) { share(it.speed); }); });
    if (failed.how != ending::lost) throw std::logic_error{failed.text};
    told[at(world.rank())] = attempt([&] { replica.reduce_gradients(); });
    world = world.shrink();
    replica.continue_on(world, allfold::stateless);
    replica.reduce_gradients();
    replica.step(it);
  });
  for (const outcome& each : told) {
    CHECK(each.how == ending::usage);
    CHECK_MESSAGE(each.says("continue_on has not returned"), each.text);
  }
  for (const outcome& each : ends) CHECK_MESSAGE(each.how == ending::returned, each.text);
  CHECK(states[0].same_bits(states[1]));
}

TEST_CASE("what is shared: objects, ranges, ranges of ranges, and what has parts of its own") {
  std::vector<std::string> flaws(3);
  run_ranks(3, [&](auto& world) {
    training it;
    allfold::data_parallel<training, distributed<direct>> replica{it, world};
    const bool is_source = world.rank() == 0;
    std::vector<std::vector<float>> nested;
    if (is_source) nested = {{1, 2}, {}, {3}};
    parts own;
    if (is_source) own = {5, {6, 7}};
    std::string text = is_source ? "so" : "another text";
    std::array<std::uint16_t, 3> fixed{};
    if (is_source) fixed = {8, 9, 10};
    const std::array<std::span<std::uint16_t>, 1> spans{fixed};
    world = world.shrink();
    replica.continue_on(world, [&](auto&& share) {
      share(nested);
      share(own);
      share(text);
      share(spans);
    });
    std::string& flaw = flaws[at(world.rank())];
    if (nested != std::vector<std::vector<float>>{{1, 2}, {}, {3}}) flaw += "nested ";
    if (own.number != 5 || own.numbers != std::vector<double>{6, 7}) flaw += "parts ";
    if (text != "so") flaw += "text ";
    if (fixed != std::array<std::uint16_t, 3>{8, 9, 10}) flaw += "spans ";
  });
  for (const std::string& each : flaws) CHECK(each == "");

  std::vector<outcome> told(2);
  run_ranks(2, [&](auto& world) {
    training it;
    allfold::data_parallel<training, distributed<direct>> replica{it, world};
    std::vector<float> memory(world.rank() == 0 ? 3 : 4);
    world = world.shrink();
    told[at(world.rank())] = attempt(
        [&] { replica.continue_on(world, [&](auto&& share) { share(std::span{memory}); }); });
  });
  for (const outcome& each : told) {
    CHECK(each.how == ending::mismatch);
    CHECK_MESSAGE(each.says("a range has 4 elements on rank 1 and 3 on rank 0"), each.text);
  }
}

TEST_CASE("ranks that are lost at any moment of a training") {
  std::mt19937 random{23};
  for (int round = 0; round < 40; ++round) {
    const int size = 2 + static_cast<int>(random() % 4);
    std::vector<loss> losses;
    const auto spared = static_cast<int>(random() % static_cast<unsigned>(size));
    for (int rank = 0; rank < size; ++rank)
      if (rank != spared && (losses.empty() || random() % 2 == 0))
        losses.push_back({rank, all_moments[random() % 5], random() % 8});
    const plan given{.how = random() % 2 == 0 ? interrupted::repeat : interrupted::drop,
                     .overlap = random() % 2 == 0 ? overlap::none : overlap::by_thread};
    CAPTURE(round);
    const auto all = run_with<distributed<direct, small_buckets>>(size, losses, given);
    const result& its = check_survivors(all, losses);
    CHECK(flaw_in(its.history, static_cast<int>(all.size()),
                  given.how == interrupted::drop ? its.failures : 0) == "");
    CHECK(its.state.same_bits(trained_serially(its.history, false)));
  }
}
