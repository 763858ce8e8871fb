// Accumulated gradients, parameters that are not used, buffers, local SGD.
#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"
#include "models.hpp"

#include <doctest/doctest.h>

#include <stdexcept>

namespace {

using namespace outcomes;
using namespace allfold;
using arrays = models::arrays<float>;
using tiny = buckets<100, 200>;

void expect(bool holds, const char* what) {
  if (!holds) throw std::logic_error{what};
}
bool all_are(const std::vector<float>& values, float value) {
  return values == std::vector<float>(values.size(), value);
}
void check_returned(const std::vector<outcome>& all) {
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

constexpr overlap ways[] = {overlap::none, overlap::by_thread};

}  // namespace

TEST_CASE_TEMPLATE("gradients of passes without sync are in the next reduction", strategy,
                   distributed<direct, tiny>, distributed<ring, tiny>, distributed<tree, tiny>,
                   distributed<halving_doubling, tiny>) {
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const overlap how : ways)
      check_returned(run_ranks(ranks, [&](auto& world) {
        arrays model{{40, 9, 30}};
        data_parallel<arrays, strategy> replica{model, world, {.overlap = how}};
        const auto add = [&](auto&& ready) {
          for (std::size_t i = 3; i > 0; --i) {
            for (float& each : model.slopes[i - 1]) each += static_cast<float>(world.rank() + 1);
            ready(i - 1);
          }
        };
        {
          const auto guard = replica.no_sync();
          const auto calls = world.traffic().calls;
          replica.backward(add);
          replica.backward(add);
          expect(world.traffic().calls == calls, "a collective without sync");
        }
        expect(all_are(model.slopes[1], static_cast<float>(2 * (world.rank() + 1))), "not its own");
        replica.backward(add);
        const float mean = static_cast<float>(ranks + 1) / 2;
        for (const auto& each : model.slopes) expect(all_are(each, 3 * mean), "a wrong mean");
      }));
}

TEST_CASE("guards of no_sync may be nested, and do not go with means over samples") {
  check_returned(run_ranks(2, [](auto& world) {
    arrays model{{10}};
    data_parallel<arrays, distributed<>> replica{model, world};
    auto outer = std::make_optional(replica.no_sync());
    auto inner = std::make_optional(replica.no_sync());
    outer.reset();
    model.fill(0, static_cast<float>(world.rank()));
    replica.backward([](auto&& ready) { ready(0); });
    expect(all_are(model.slopes[0], static_cast<float>(world.rank())), "reduced too early");
    inner.reset();
    replica.backward([](auto&& ready) { ready(0); });
    expect(all_are(model.slopes[0], 0.5f), "not reduced");
  }));
  for (const outcome& each : run_ranks(2, [](auto& world) {
         arrays model{{10}};
         data_parallel<arrays, distributed<>> replica{
             model, world, {.scale = scale::mean_over_samples}};
         const auto guard = replica.no_sync();
       }))
    CHECK_MESSAGE(each.says("no_sync does not go with"), each.text);
}

TEST_CASE_TEMPLATE("unused parameters", strategy, distributed<direct, tiny>,
                   distributed<ring, tiny>, distributed<tree, tiny>,
                   distributed<halving_doubling, tiny>) {
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const overlap how : ways)
      for (const unused policy : {unused::zero, unused::keep})
        check_returned(run_ranks(ranks, [&](auto& world) {
          arrays model{{40, 9, 30}};
          data_parallel<arrays, strategy> replica{model, world, {.overlap = how, .unused = policy}};
          model.fill(0, 7.0f);
          replica.backward([&](auto&& ready) {  // 0: all; 1: nobody; 2: the last rank
            model.slopes[0].assign(40, static_cast<float>(ranks));
            ready(0);
            if (world.rank() == ranks - 1) {
              model.slopes[2].assign(30, static_cast<float>(ranks));
              ready(2);
            }
          });
          expect(all_are(model.slopes[0], static_cast<float>(ranks)), "used by all");
          expect(all_are(model.slopes[1], policy == unused::keep ? 7.0f : 0.0f), "used by nobody");
          expect(all_are(model.slopes[2], 1.0f), "used by one");
          expect(replica.used(0) && replica.used(2), "reduced, and not used?");
          expect(replica.used(1) == (policy == unused::zero), "used by nobody, and reduced?");
        }));
}

TEST_CASE("a parameter that was used in a pass without sync counts as used") {
  for (const unused policy : {unused::error, unused::zero, unused::keep})
    check_returned(run_ranks(3, [&](auto& world) {
      arrays model{{40, 9}};
      data_parallel<arrays, distributed<>> replica{model, world, {.unused = policy}};
      model.fill(0, static_cast<float>(world.rank()));
      {
        const auto guard = replica.no_sync();
        replica.backward([](auto&& ready) { ready(0); });
        expect(replica.used(0) && !replica.used(1), "used by this rank in this pass");
        replica.backward([](auto&& ready) { ready(1); });
        expect(replica.used(0) && replica.used(1), "used since gradients were reduced");
      }
      replica.backward([](auto&& ready) { ready(1); });
      expect(all_are(model.slopes[0], 1.0f) && all_are(model.slopes[1], 1.0f), "a wrong mean");
    }));
}

TEST_CASE("buffers are rank 0's before each pass, unless they are to be left alone") {
  for (const bool broadcasts : {true, false})
    check_returned(run_ranks(3, [&](auto& world) {
      arrays model{{10}};
      data_parallel<arrays, distributed<>> replica{model, world, {.broadcast_buffers = broadcasts}};
      model.statistics.assign(3, world.rank() + 5.0);
      double seen = 0;
      replica.backward([&](auto&& ready) {
        seen = model.statistics[1];
        ready(0);
      });
      expect(seen == (broadcasts ? 5.0 : world.rank() + 5.0), "other buffers");
    }));
}

TEST_CASE_TEMPLATE("under local SGD parameters are averaged now and then", algorithm, direct, ring,
                   tree, halving_doubling) {
  for (int ranks = 1; ranks <= 5; ++ranks)
    check_returned(run_ranks(ranks, [&](auto& world) {
      arrays model{{40, 9}};
      data_parallel<arrays, local_sgd<3, 2, distributed<algorithm, tiny>>> replica{model, world};
      const auto descend = [](std::span<float> parameter, std::span<const float> gradient) {
        for (std::size_t i = 0; i < parameter.size(); ++i) parameter[i] -= gradient[i];
      };
      const auto own = static_cast<float>(world.rank());
      model.statistics.assign(3, own + 1);
      const float mean = static_cast<float>(ranks - 1) / 2;
      for (int step = 1; step <= 11; ++step) {
        for (auto& each : model.slopes) each.assign(each.size(), own);
        replica.backward([](auto&& ready) { ready(0, 2); });
        replica.step(descend);
        // Two steps with all ranks' gradients; then three with one's own, and an average.
        const int alone = step <= 2 ? 0 : (step - 2) % 3;
        const float expected =
            -mean * static_cast<float>(step - alone) - own * static_cast<float>(alone);
        for (const auto& each : model.values)
          for (const float value : each)
            expect(std::abs(value - expected) < 1e-4f, "other parameters");
        // Two passes send rank 0's; then each has its own, until parameters are averaged.
        const double own_buffer = world.rank() == 0 ? 1.0 : own + 10.0;
        const bool are_equal = step <= 2 || alone == 0;
        expect(model.statistics[0] == (are_equal ? 1.0 : own_buffer), "other buffers");
        if (step >= 2) model.statistics.assign(3, own_buffer);
      }
    }));
}

TEST_CASE("where ranks step by themselves each has parameters of its own that are not used") {
  for (const unused policy : {unused::zero, unused::keep})
    check_returned(run_ranks(3, [&](auto& world) {
      arrays model{{40, 9}};
      data_parallel<arrays, local_sgd<2>> replica{model, world, {.unused = policy}};
      model.fill(0, 7.0f);
      replica.backward([&](auto&& ready) {
        if (world.rank() == 1) ready(0);
        ready(1);
      });
      const bool kept = world.rank() == 1 || policy == unused::keep;
      expect(all_are(model.slopes[0], kept ? 7.0f : 0.0f), "not what the policy says");
      expect(all_are(model.slopes[1], 7.0f), "what was used was changed");
    }));
  for (const outcome& each : run_ranks(3, [](auto& world) {
         arrays model{{40, 9}};
         data_parallel<arrays, local_sgd<2>> replica{model, world};
         replica.backward([&](auto&& ready) {
           if (world.rank() != 1) ready(0);
           ready(1);
         });
         replica.step([] {});
         replica.backward([](auto&& ready) { ready(0, 2); });
         replica.step([] {});
       })) {
    CHECK_MESSAGE(each.says("parameter 0 (layer0.weight) was never ready"), each.text);
    CHECK_MESSAGE(each.says("rank 1"), each.text);
  }
}

TEST_CASE("unused::keep would lose what a compression has left out") {
  using strategy = distributed<direct, buckets<>, wire<bfloat16, error_feedback::on>>;
  for (const outcome& each : run_ranks(2, [](auto& world) {
         arrays model{{10}};
         data_parallel<arrays, strategy> replica{model, world, {.unused = unused::keep}};
       }))
    CHECK_MESSAGE(each.says("unused::keep does not go with a compression"), each.text);
}
