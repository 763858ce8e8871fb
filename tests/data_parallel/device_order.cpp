// Models in a device's memory: what is given to which stream, and what waits for what.
#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"
#include "recorded_device.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>

namespace {

using namespace outcomes;
using namespace allfold;
using namespace std::chrono_literals;
using recorded::meeting;
using recorded::work;

const std::vector<std::size_t> sizes{40, 7, 100, 3, 60, 25, 1, 80};
using strategy = distributed<native, buckets<200, 400>>;  // several gradients in most buckets

/// Memory that nobody looks into: only where it lies matters.
struct model {
  std::vector<std::vector<float>> values, slopes;

  model() {
    for (const std::size_t size : sizes) {
      values.emplace_back(size);
      slopes.emplace_back(size);
    }
  }
  static std::vector<device_span<float>> spans_of(std::vector<std::vector<float>>& all) {
    std::vector<device_span<float>> spans;
    for (auto& each : all) spans.emplace_back(each.data(), each.size());
    return spans;
  }
  std::vector<device_span<float>> parameters() { return spans_of(values); }
  std::vector<device_span<float>> gradients() { return spans_of(slopes); }
};

/// One rank's training, all of whose work is written down.
template <meeting How>
struct training {
  recorded::world<How>& ranks;
  model its;
  data_parallel<model, strategy> replica;
  std::vector<recorded::queue*> beside{ranks.on().make_stream(), ranks.on().make_stream()};
  std::mt19937 random{static_cast<unsigned>(ranks.rank())};

  training(recorded::world<How>& world, overlap how)
      : ranks{world}, replica{its, world, {.overlap = how}} {}

  void compute(std::size_t gradient, recorded::queue* in) {
    const auto& memory = its.slopes[gradient];
    ranks.on().give(in, "gradient " + std::to_string(gradient), memory.data(),
                    memory.size() * sizeof(float), true);
  }
  /// The other streams begin where the rank's has come to; that is the engine's own business.
  void fork() {
    recorded::event here{ranks.on()};
    here.record(ranks.stream());
    for (recorded::queue* const each : beside) here.hold_back(each);
  }
  void step() {
    replica.step(
        [&](std::size_t i, device_span<float> parameter, device_span<const float> gradient) {
          const std::string number = std::to_string(i);
          ranks.on().give(ranks.stream(), "use of gradient " + number, gradient.data(),
                          gradient.size_bytes(), false);
          ranks.on().give(ranks.stream(), "step of parameter " + number, parameter.data(),
                          parameter.size_bytes(), true);
        });
  }
};

// Backward passes of engines.

struct in_reverse {
  static constexpr const char* name = "in reverse, on the rank's stream";
  template <class Training, class Ready>
  static void run(Training& it, Ready& ready) {
    for (std::size_t i = sizes.size(); i-- > 0;) {
      it.compute(i, it.ranks.stream());
      ready(i);
    }
  }
};
struct in_any_order {
  static constexpr const char* name = "in any order, on each rank in another";
  template <class Training, class Ready>
  static void run(Training& it, Ready& ready) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < sizes.size(); ++i) order.push_back(i);
    std::shuffle(order.begin(), order.end(), it.random);
    for (const std::size_t i : order) {
      it.compute(i, it.ranks.stream());
      ready(i);
    }
  }
};
struct on_three_streams {
  static constexpr const char* name = "on three streams in turns, two of them named";
  template <class Training, class Ready>
  static void run(Training& it, Ready& ready) {
    it.fork();
    for (std::size_t i = sizes.size(); i-- > 0;) {
      const std::size_t which = it.random() % 3;
      recorded::queue* const in = which == 2 ? it.ranks.stream() : it.beside[which];
      it.compute(i, in);
      if (which == 2)
        ready(i);
      else
        ready(i, in);
    }
  }
};
struct all_before_any_is_ready {
  static constexpr const char* name = "all computed on two streams, then ready in ranges";
  template <class Training, class Ready>
  static void run(Training& it, Ready& ready) {
    it.fork();
    for (std::size_t i = 0; i < sizes.size(); ++i) it.compute(i, it.beside[i < 3 ? 0 : 1]);
    ready(std::size_t{3}, sizes.size(), it.beside[1]);
    ready(std::size_t{0}, std::size_t{3}, it.beside[0]);
  }
};
struct on_a_stream_that_changes {
  static constexpr const char* name = "on the stream that the communicator uses, which changes";
  template <class Training, class Ready>
  static void run(Training& it, Ready& ready) {
    recorded::queue* const before = it.ranks.stream();
    for (std::size_t i = sizes.size(); i-- > 0;) {
      if (i == 4) it.ranks.use_stream(it.beside[0]);
      if (i == 1) it.ranks.use_stream(before);
      it.compute(i, it.ranks.stream());
      ready(i);
    }
  }
};

constexpr int steps = 4;

/// What each rank's device has written down of a training, and what else is known of it.
struct notes {
  std::shared_ptr<recorded::device> device = std::make_shared<recorded::device>();
  bool overlaps = false;
  std::size_t rank_stream = 0, buckets = 0;
};

template <meeting How, class Pass>
std::vector<notes> train(int ranks, overlap how) {
  std::vector<notes> all(at(ranks));
  spawn(ranks, [&](threads::communicator& control) {
    notes& mine = all[at(control.rank())];
    recorded::world<How> world{std::move(control), mine.device};
    training<How> it{world, how};
    mine.overlaps = it.replica.overlaps();
    mine.rank_stream = world.stream()->number;
    mine.buckets = it.replica.buckets().size();
    for (int step = 0; step < steps; ++step) {
      it.replica.backward([&](auto&& ready) { Pass::run(it, ready); });
      it.step();
    }
  });
  return all;
}

/// The sizes of the gradients that are reduced, in this order: they tell which.
std::vector<std::size_t> reduced(recorded::device& on) {
  std::vector<std::size_t> all;
  for (const work& each : on.named("all_reduce")) all.push_back(each.bytes / sizeof(float));
  return all;
}

template <meeting How, class Pass>
void check_order() {
  CAPTURE(Pass::name);
  for (const int ranks : {1, 2, 3})
    for (const overlap how : {overlap::none, overlap::by_thread, overlap::automatic}) {
      CAPTURE(ranks);
      CAPTURE(static_cast<int>(how));
      const std::vector<notes> all = train<How, Pass>(ranks, how);
      for (const notes& each : all) {
        CHECK(reduced(*each.device) == reduced(*all[0].device));
        for (const std::string& fault : each.device->faults()) FAIL_CHECK(fault);
        CHECK(each.device->named("gradient").size() == steps * sizes.size());
        const std::vector<work> reductions = each.device->named("all_reduce");
        CHECK(reductions.size() == (ranks == 1 ? 0 : steps * sizes.size()));
        for (const work& it : reductions) CHECK((it.stream != each.rank_stream) == each.overlaps);
        if (how == overlap::none || ranks == 1) CHECK_FALSE(each.overlaps);
        if (how == overlap::by_thread && ranks > 1) CHECK(each.overlaps);
        if (how == overlap::automatic && ranks > 1 && How == meeting::at_once) CHECK(each.overlaps);
      }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("streams wait for each other where memory is touched, and reductions are all",
                   pass, in_reverse, in_any_order, on_three_streams, all_before_any_is_ready,
                   on_a_stream_that_changes) {
  check_order<meeting::threads_meet, pass>();
  check_order<meeting::at_once, pass>();
}

namespace {

/// Of one backward pass on two ranks: how many pairs there are of a reduction and a gradient of a
/// later bucket, and how many of these reductions wait for that gradient.
struct pairs {
  std::size_t all = 0, ordered = 0;
};

template <class Pass>
pairs later_gradients(overlap how) {
  std::vector<notes> all(2);
  std::vector<bucket> plan;
  spawn(2, [&](threads::communicator& control) {
    const int rank = control.rank();
    recorded::world<meeting::at_once> world{std::move(control), all[at(rank)].device};
    training<meeting::at_once> it{world, how};
    if (rank == 0) plan = it.replica.buckets();
    it.replica.backward([&](auto&& ready) { Pass::run(it, ready); });
  });
  const std::vector<work> gradients = all[0].device->named("gradient");
  const std::vector<work> reductions = all[0].device->named("all_reduce");
  pairs found;
  std::size_t next = 0;  // reduction: each gradient has one
  for (std::size_t b = 0; b < plan.size(); ++b)
    for (std::size_t k = 0; k < plan[b].members.size(); ++k, ++next)
      for (const work& each : gradients)
        for (std::size_t other = b + 1; other < plan.size(); ++other)
          for (const std::size_t i : plan[other].members)
            if (each.what == "gradient " + std::to_string(i)) {
              ++found.all;
              if (recorded::device::is_before(each, reductions.at(next))) ++found.ordered;
            }
  return found;
}

}  // namespace

TEST_CASE("a bucket's reduction waits for its own gradients only, if it goes on meanwhile") {
  for (const pairs found : {later_gradients<in_reverse>(overlap::by_thread),
                            later_gradients<on_three_streams>(overlap::by_thread)}) {
    CHECK(found.all > 10);
    CHECK(found.ordered == 0);
  }
  const pairs afterwards = later_gradients<in_reverse>(overlap::none);
  CHECK(afterwards.all > 10);
  CHECK(afterwards.ordered == afterwards.all);
}

TEST_CASE("a reduction is given as soon as its bucket is complete, and holds up no rank") {
  // Rank 1 is late: rank 0 goes on nevertheless, and its thread, if there is one, waits for rank 1.
  const auto check = [](auto how_they_meet) {
    constexpr meeting how = decltype(how_they_meet)::value;
    std::atomic<bool> through{false};
    const auto all = run_ranks(2, [&](threads::communicator& control) {
      auto device = std::make_shared<recorded::device>();
      recorded::world<how> world{std::move(control), device};
      training<how> it{world, overlap::by_thread};
      const std::size_t first = it.replica.buckets()[0].members.size();
      it.replica.backward([&](auto&& ready) {
        if (world.rank() == 1)
          for (int i = 0; i < 2000 && !through; ++i) std::this_thread::sleep_for(5ms);
        in_reverse::run(it, ready);
        const std::size_t given = device->named("all_reduce").size();
        if (how == meeting::at_once && given != sizes.size()) throw std::logic_error{"not at once"};
        if (how == meeting::threads_meet && world.rank() == 0 && given >= first)
          throw std::logic_error{"without the other rank"};
        if (world.rank() == 0) through = true;
      });
      if (!through) throw std::logic_error{"rank 0 was held up"};
      if (device->named("all_reduce").size() != sizes.size()) throw std::logic_error{"not all"};
    });
    for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  };
  check(std::integral_constant<meeting, meeting::at_once>{});
  check(std::integral_constant<meeting, meeting::threads_meet>{});
}

TEST_CASE("marks are made once, and waited for in their own pass only") {
  std::vector<notes> all(2);
  spawn(2, [&](threads::communicator& control) {
    const auto device = all[at(control.rank())].device;
    recorded::world<meeting::at_once> world{std::move(control), device};
    training<meeting::at_once> it{world, overlap::by_thread};
    const std::size_t buckets = it.replica.buckets().size();
    std::size_t marks = 0;
    for (int step = 0; step < 5; ++step) {
      // Each step's other stream is a new one. All of the first bucket is computed there.
      recorded::queue* const other = device->make_stream();
      const std::size_t waits = device->waits();
      const auto in_other = it.replica.buckets()[0].members;
      it.replica.backward([&](auto&& ready) {
        for (std::size_t i = 0; i < sizes.size(); ++i)
          if (std::find(in_other.begin(), in_other.end(), i) == in_other.end())
            ready(i);
          else
            ready(i, other);
      });
      if (device->waits() - waits != buckets + 1) throw std::logic_error{"other waits"};
      if (step == 0) marks = device->marks();
    }
    if (marks != buckets + 1 || device->marks() != marks) throw std::logic_error{"other marks"};
  });
}

TEST_CASE("a stream may be named though it is the rank's own") {
  for (const overlap how : {overlap::none, overlap::by_thread}) {
    const auto device = std::make_shared<recorded::device>();
    spawn(1, [&](threads::communicator& control) {
      recorded::world<meeting::at_once> world{std::move(control), device};
      training<meeting::at_once> it{world, how};
      it.replica.backward([&](auto&& ready) {
        for (std::size_t i = 0; i < sizes.size(); ++i) {
          it.compute(i, world.stream());
          ready(i, world.stream());
        }
      });
      it.step();
    });
    CHECK(device->faults().empty());
    CHECK(device->waits() == 0);
  }
}

TEST_CASE_TEMPLATE("an engine that throws is heard of though threads wait for its gradients", how,
                   std::integral_constant<meeting, meeting::threads_meet>,
                   std::integral_constant<meeting, meeting::at_once>) {
  for (int odd = 0; odd < 3; ++odd) {
    const auto all = run_ranks(3, [&](threads::communicator& control) {
      recorded::world<how::value> world{std::move(control), std::make_shared<recorded::device>()};
      training<how::value> it{world, overlap::by_thread};
      for (int step = 0; step < 3; ++step) {
        it.replica.backward([&](auto&& ready) {
          for (std::size_t i = sizes.size(); i-- > 0;) {
            if (world.rank() == odd && step == 2 && i == 3)
              throw std::runtime_error{"the loss is no number"};
            ready(i);
          }
        });
        world.gather_numbers(0, std::source_location::current());
      }
    });
    for (int rank = 0; rank < 3; ++rank)
      CHECK_MESSAGE(all[at(rank)].says(rank == odd ? "the loss is no number"
                                                   : rank_name(odd) + " threw: the loss is no "
                                                                      "number"),
                    all[at(rank)].text);
  }
}

TEST_CASE("gradients that don't exist, or are ready twice, are told on every rank") {
  const auto told = [](auto wrong, const std::string& text) {
    const auto all = run_ranks(2, [&](threads::communicator& control) {
      recorded::world<meeting::threads_meet> world{std::move(control),
                                                   std::make_shared<recorded::device>()};
      training<meeting::threads_meet> it{world, overlap::by_thread};
      it.replica.backward([&](auto&& ready) {
        if (world.rank() == 1) wrong(ready, it.beside[0]);
        in_reverse::run(it, ready);
      });
    });
    for (const outcome& each : all) {
      CHECK(each.how == ending::usage);
      CHECK_MESSAGE(each.says(text), each.text);
      CHECK_MESSAGE(each.says("rank 1"), each.text);
    }
  };
  const std::size_t count = sizes.size();
  told([&](auto& ready, auto) { ready(count); },
       "gradient 8 was said to be ready, but there are 8");
  told([&](auto& ready, auto in) { ready(count + 3, in); }, "gradient 11 was said to be ready");
  told([&](auto& ready, auto in) { ready(count - 1, count + 1, in); }, "gradient 8 was said");
  told([&](auto& ready, auto) { ready(static_cast<std::size_t>(-1)); }, "but there are 8");
  told([&](auto& ready, auto) { ready(std::size_t{5}, std::size_t{2}); },
       "gradients from 5 to before 2 were said to be ready");
  told(
      [&](auto& ready, auto in) {
        ready(std::size_t{2}, in);
        ready(std::size_t{0}, std::size_t{4}, in);
      },
      "the gradient of parameter 2 was ready twice");
}

namespace {

/// One that says nothing of streams.
class plain_world : public recorded::world<meeting::at_once> {
 public:
  using recorded::world<meeting::at_once>::world;
  void stream() const = delete;
  void mark() const = delete;
};

}  // namespace

TEST_CASE(
    "over a communicator without streams gradients are reduced afterwards, and none is named") {
  const auto all = run_ranks(2, [](threads::communicator& control) {
    const auto device = std::make_shared<recorded::device>();
    plain_world world{std::move(control), device};
    model its;
    data_parallel<model, strategy> replica{its, world, {.overlap = overlap::by_thread}};
    if (replica.overlaps()) throw std::logic_error{"it overlaps"};
    replica.backward([&](auto&& ready) {
      ready(std::size_t{0}, sizes.size());
      if (!device->named("all_reduce").empty()) throw std::logic_error{"too early"};
    });
    if (device->named("all_reduce").size() != sizes.size()) throw std::logic_error{"not all"};
    replica.backward([&](auto&& ready) { ready(std::size_t{0}, device->make_stream()); });
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.says("has no streams"), each.text);
}
