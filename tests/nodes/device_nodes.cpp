// Ranks on several nodes of devices, over devices that work late and in any order that is allowed.
#include <allfold/allfold.hpp>
#include <allfold/collective/device_hierarchical.hpp>

#include "../communicator/outcome.hpp"
#include "lazy_device.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace outcomes;
using namespace allfold;
using lazy::meeting;
using lazy::preference;
using threads_world = threads::communicator;
using world_type = nodes::device_communicator<lazy::inside, lazy::across>;
using algorithm = hierarchical<direct, native>;

struct shape {
  int nodes, lanes;
  int ranks() const { return nodes * lanes; }
};
constexpr nodes::options fine{.one_lane_bytes = 128, .piece_bytes = 256};

world_type make(threads_world& flat, shape its, const std::shared_ptr<lazy::machine>& on,
                meeting how = meeting::at_once, nodes::options cut = fine) {
  auto here = flat.split(flat.rank() / its.lanes);
  auto lane = flat.split(flat.rank() % its.lanes);
  return {lazy::inside{std::move(here), on, how}, lazy::across{std::move(lane), on, how}, cut};
}

/// What rank `rank` has: nothing that sums up to the same in another order.
template <class T>
T value(int rank, std::size_t i) {
  const auto number = static_cast<unsigned>(i * 7919 + at(rank) * 104729 + 1) * 2654435761u;
  if constexpr (std::is_same_v<T, float>)
    return static_cast<float>(number >> 8) * 1e-5f;
  else
    return static_cast<T>(number % 20011) - 10000;
}
/// The fold of each node's ranks in their order, folded in the order of nodes.
template <class T, class Operation>
T folded(const std::vector<T>& by_rank, shape its, const Operation& operation) {
  const auto fold = [&](auto term, int count) {
    T all = term(0);
    for (int k = 1; k < count; ++k) all = operation(all, term(k));
    if constexpr (requires { operation.finish(all, count); }) all = operation.finish(all, count);
    return all;
  };
  return fold(
      [&](int node) {
        return fold([&](int lane) { return by_rank[at(node * its.lanes + lane)]; }, its.lanes);
      },
      its.nodes);
}

constexpr std::size_t counts[] = {0, 1, 33, 100, 1000};

/// Elements that each rank's stream writes, folded twice without a wait of the host's; between the
/// folds they are changed, and taken away, in that stream.
template <class T, class Operation>
class two_folds {
 public:
  two_folds(shape its, std::size_t count)
      : shape_{its}, count_{count}, input_(at(its.ranks()), std::vector<T>(count)) {}

  /// One rank's part.
  void run(world_type& world, lazy::machine& machine) {
    const auto r = at(world.rank());
    const device_span<const T> in{input_[r].data(), count_};
    const device_span<T> data{twice_[r].data(), count_};
    machine.give(world.stream(), [this, r] {
      for (std::size_t i = 0; i < count_; ++i) input_[r][i] = value<T>(static_cast<int>(r), i);
    });
    all_reduce<algorithm>(world, in, data, Operation{});
    machine.give(world.stream(), [this, r] {
      once_[r] = twice_[r];
      for (T& each : twice_[r]) each = static_cast<T>(each / static_cast<T>(r + 2));
    });
    all_reduce<algorithm>(world, data, Operation{});
    world.synchronize();
  }
  void check() const {
    CAPTURE(count_);
    for (std::size_t i = 0; i < count_; ++i) {
      std::vector<T> given;
      for (int rank = 0; rank < shape_.ranks(); ++rank) given.push_back(value<T>(rank, i));
      const T wanted_once = folded(given, shape_, Operation{});
      for (int rank = 0; rank < shape_.ranks(); ++rank)
        given[at(rank)] = static_cast<T>(wanted_once / static_cast<T>(rank + 2));
      const T wanted_twice = folded(given, shape_, Operation{});
      for (int rank = 0; rank < shape_.ranks(); ++rank) {
        REQUIRE(once_[at(rank)][i] == wanted_once);
        REQUIRE(twice_[at(rank)][i] == wanted_twice);
      }
    }
  }

 private:
  shape shape_;
  std::size_t count_;
  std::vector<std::vector<T>> input_, once_ = input_, twice_ = input_;
};

/// Sums of all counts, and the others, one after the other over the same streams.
template <class T, class... Others>
void fold_all(shape its, preference first, unsigned seed, meeting how, Others... others) {
  const auto machine = std::make_shared<lazy::machine>(first, seed);
  std::vector<two_folds<T, sum>> sums;
  for (const std::size_t count : counts) sums.emplace_back(its, count);
  spawn(its.ranks(), [&](threads_world& flat) {
    world_type world = make(flat, its, machine, how);
    for (auto& each : sums) each.run(world, *machine);
    (others.run(world, *machine), ...);
  });
  for (const auto& each : sums) each.check();
  (others.check(), ...);
}

/// For one to three nodes of one to three lanes, and for each way to go.
template <class Work>
void on_all(Work work) {
  unsigned seed = 1;
  for (int nodes = 1; nodes <= 3; ++nodes)
    for (int lanes = 1; lanes <= 3; ++lanes)
      for (const preference first : {preference::none, preference::inside, preference::across}) {
        CAPTURE(nodes);
        CAPTURE(lanes);
        CAPTURE(static_cast<int>(first));
        work(shape{nodes, lanes}, first, ++seed);
      }
}

}  // namespace

TEST_CASE("an all_reduce is the nodes' folds, folded, in whatever order streams go on") {
  on_all([](shape its, preference first, unsigned seed) {
    fold_all<float>(its, first, seed, meeting::at_once, two_folds<float, average>{its, 333},
                    two_folds<int, average>{its, 333}, two_folds<int, maximum>{its, 333});
    fold_all<int>(its, first, seed + 100, meeting::threads_meet);
  });
}

TEST_CASE("a broadcast gives every rank the root's elements") {
  on_all([](shape its, preference first, unsigned seed) {
    const auto machine = std::make_shared<lazy::machine>(first, seed);
    const int root = static_cast<int>(seed) % its.ranks();
    std::vector<std::vector<std::vector<int>>> data(at(its.ranks()));  // by rank and count
    for (auto& each : data) each.resize(std::size(counts));
    auto found = data;
    spawn(its.ranks(), [&](threads_world& flat) {
      world_type world = make(flat, its, machine);
      const int rank = flat.rank();
      for (std::size_t k = 0; k < std::size(counts); ++k) {
        std::vector<int>& own = data[at(rank)][k];
        own.resize(counts[k]);
        machine->give(world.stream(), [&own, rank] {
          for (std::size_t i = 0; i < own.size(); ++i) own[i] = value<int>(rank, i);
        });
        broadcast(world, device_span<int>{own.data(), own.size()}, root);
        machine->give(world.stream(), [&, k] { found[at(rank)][k] = own; });
        barrier(world);
        world.synchronize();
      }
    });
    for (const auto& of_rank : found)
      for (std::size_t k = 0; k < std::size(counts); ++k) {
        REQUIRE(of_rank[k].size() == counts[k]);
        for (std::size_t i = 0; i < counts[k]; ++i) REQUIRE(of_rank[k][i] == value<int>(root, i));
      }
  });
}

TEST_CASE("a piece is folded inside while the one before it is on its way, and may wait for it") {
  const auto places = [](preference first) {
    const auto machine = std::make_shared<lazy::machine>(first, 1);
    std::vector<std::vector<float>> data(4, std::vector<float>(512, 1.0f));  // 4 pieces of 2 lanes
    spawn(4, [&](threads_world& flat) {
      world_type world = make(flat, {2, 2}, machine);
      if (!world.enqueues_at_once()) throw std::logic_error{"the host waits"};
      all_reduce<algorithm>(world, device_span<float>{data[at(flat.rank())].data(), 512});
      if (!machine->log().empty()) throw std::logic_error{"something was done already"};
      flat.meet();
      world.synchronize();
    });
    const std::vector<std::string> log = machine->log();
    const auto nth = [&](const std::string& name, int n) {
      for (std::size_t i = 0; i < log.size(); ++i)
        if (log[i] == name && --n == 0) return i;
      return log.size();
    };
    CHECK(std::count(log.begin(), log.end(), "across all_reduce") == 2 * 4);
    // The level's own calls say what the whole call is.
    return std::pair{nth("inside all_reduce", 4), nth("across all_reduce", 1)};
  };
  const auto [second_fold, first_way] = places(preference::inside);
  CHECK(second_fold < first_way);  // two pieces on two nodes
  const auto [late_fold, early_way] = places(preference::across);
  CHECK(late_fold > early_way);
}

TEST_CASE("numbers are gathered by rank, and the rank's place is told") {
  for (const shape its : {shape{1, 1}, shape{2, 3}, shape{3, 2}}) {
    const auto machine = std::make_shared<lazy::machine>();
    spawn(its.ranks(), [&](threads_world& flat) {
      world_type world = make(flat, its, machine);
      const auto all = world.gather_numbers(at(10 * flat.rank()));
      if (world.rank() != flat.rank() || world.size() != flat.size()) throw std::logic_error{"who"};
      if (all.size() != at(its.ranks())) throw std::logic_error{"how many"};
      for (std::size_t i = 0; i < all.size(); ++i)
        if (all[i] != 10 * i) throw std::logic_error{"which"};
    });
  }
}

namespace {

const std::vector<std::size_t> sizes{40, 7, 100, 0, 60, 1, 300};
using strategy = distributed<algorithm, buckets<200, 400>>;

struct model {
  std::vector<std::vector<float>> values, slopes;
  model() {
    for (const std::size_t size : sizes) {
      values.emplace_back(size, 1.0f);
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
constexpr int steps = 4;

/// Of one rank in one step, at this parameter.
float slope(int rank, int step, std::size_t i, std::size_t k, float parameter) {
  return value<float>(rank + 4 * step, k + i) * parameter;
}
void take_step(float* parameter, const float* gradient, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) parameter[i] -= 0.001f * gradient[i];
}

using parameters = std::vector<std::vector<float>>;

parameters trained_serially(shape its) {
  model one;
  for (int step = 0; step < steps; ++step)
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      for (std::size_t k = 0; k < sizes[i]; ++k) {
        std::vector<float> by_rank;
        for (int rank = 0; rank < its.ranks(); ++rank)
          by_rank.push_back(slope(rank, step, i, k, one.values[i][k]));
        one.slopes[i][k] = folded(by_rank, its, average{});
      }
      take_step(one.values[i].data(), one.slopes[i].data(), sizes[i]);
    }
  return one.values;
}

std::vector<parameters> trained_on_devices(shape of, preference first, meeting how, overlap when) {
  const auto machine = std::make_shared<lazy::machine>(first, 7);
  std::vector<model> all(at(of.ranks()));
  spawn(of.ranks(), [&](threads_world& flat) {
    world_type world = make(flat, of, machine, how);
    model& its = all[at(flat.rank())];
    data_parallel<model, strategy> replica{its, world, {.overlap = when}};
    if (replica.overlaps() != (when == overlap::by_thread)) throw std::logic_error{"overlap"};
    for (int step = 0; step < steps; ++step) {
      replica.backward([&](auto&& ready) {
        for (std::size_t i = sizes.size(); i-- > 0;) {
          machine->give(world.stream(), [&, i, step, rank = flat.rank()] {
            for (std::size_t k = 0; k < sizes[i]; ++k)
              its.slopes[i][k] = slope(rank, step, i, k, its.values[i][k]);
          });
          ready(i);
        }
      });
      replica.step([&](auto parameter, auto gradient) {
        machine->give(world.stream(),
                      [=] { take_step(parameter.data(), gradient.data(), parameter.size()); });
      });
    }
    world.synchronize();
  });
  std::vector<parameters> values;
  for (const model& each : all) values.push_back(each.values);
  return values;
}

}  // namespace

TEST_CASE("a training on nodes of devices comes to the bits of a serial one") {
  for (const shape its : {shape{1, 2}, shape{2, 1}, shape{2, 2}, shape{3, 2}}) {
    const parameters wanted = trained_serially(its);
    REQUIRE(wanted[0][0] != 1.0f);
    for (const preference first : {preference::none, preference::inside, preference::across})
      for (const meeting how : {meeting::at_once, meeting::threads_meet})
        for (const overlap when : {overlap::none, overlap::by_thread}) {
          CAPTURE(static_cast<int>(first));
          CAPTURE(static_cast<int>(how));
          CAPTURE(static_cast<int>(when));
          for (const parameters& each : trained_on_devices(its, first, how, when))
            CHECK(each == wanted);
        }
  }
}

TEST_CASE("levels that do not fit each other are refused on every rank") {
  const auto told = [](int ranks, auto connect, ending how, const std::string& text) {
    const auto machine = std::make_shared<lazy::machine>();
    const auto all = run_ranks(ranks, [&](threads_world& flat) { connect(flat, machine); });
    bool said = false;
    for (const outcome& each : all) {
      CHECK_MESSAGE(each.how == how, each.text);
      said = said || each.says(text);
    }
    CHECK_MESSAGE(said, all[0].text);
  };
  const auto join = [](threads_world& flat, int node, int lane, nodes::options cut,
                       const std::shared_ptr<lazy::machine>& on) {
    auto here = flat.split(node), other = flat.split(lane);
    world_type{lazy::inside{std::move(here), on, meeting::at_once},
               lazy::across{std::move(other), on, meeting::at_once}, cut};
  };
  told(
      3, [&](auto& flat, auto on) { join(flat, flat.rank() / 2, flat.rank() % 2, fine, on); },
      ending::usage, "not all nodes have as many ranks: node 0 has 2, node 1 has 1");
  told(
      4,
      [&](auto& flat, auto on) {
        const int lane = flat.rank() % 2, node = flat.rank() / 2;
        auto here = flat.split(node), other = flat.split(lane, lane == 0 ? node : -node);
        world_type{lazy::inside{std::move(here), on, meeting::at_once},
                   lazy::across{std::move(other), on, meeting::at_once}, fine};
      },
      ending::usage, "a node's ranks are not the same node across");
  told(
      4,
      [&](auto& flat, auto on) {
        nodes::options cut = fine;
        if (flat.rank() == 3) cut.piece_bytes = 512;
        join(flat, flat.rank() / 2, flat.rank() % 2, cut, on);
      },
      ending::mismatch, "options::piece_bytes is 256, and 512 on rank 3");
  told(
      2, [&](auto& flat, auto on) { join(flat, flat.rank(), 0, {.piece_bytes = 0}, on); },
      ending::usage, "a piece can't have 0 bytes");
}

namespace {

/// Every rank folds until it is told of an error; one does something else in its third step.
template <class Odd>
std::vector<outcome> folding(meeting how, Odd odd) {
  const auto machine = std::make_shared<lazy::machine>();
  std::vector<std::vector<float>> data(4, std::vector<float>(400));
  return run_ranks(4, [&](threads_world& flat) {
    world_type world = make(flat, {2, 2}, machine, how);
    const device_span<float> mine{data[at(flat.rank())].data(), 400};
    try {
      for (int step = 0; step < 6; ++step) {
        if (flat.rank() == 3 && step == 2) odd(world, mine);
        all_reduce<algorithm>(world, mine);
        world.synchronize();
      }
    } catch (...) {
      world.leave_with(std::current_exception());
      throw;
    }
  });
}

}  // namespace

TEST_CASE("what fails one level fails both, and every rank is told with a type") {
  for (const meeting how : {meeting::threads_meet, meeting::at_once}) {
    const auto left = folding(how, [](auto&, auto) { throw std::runtime_error{"no more cards"}; });
    CHECK(left[3].how == ending::other);
    for (int rank = 0; rank < 3; ++rank) {
      CHECK_MESSAGE(left[at(rank)].how == ending::lost, left[at(rank)].text);
      CHECK_MESSAGE(left[at(rank)].says("rank 3 of 4 (node 1, lane 1) threw: no more cards"),
                    left[at(rank)].text);
      CHECK_MESSAGE(left[at(rank)].says(rank_name(rank) + " of 4"), left[at(rank)].text);
    }
    const auto aborted = folding(how, [](auto& world, auto) { world.abort("enough"); });
    for (const outcome& each : aborted) {
      CHECK_MESSAGE(each.how == ending::usage, each.text);
      CHECK_MESSAGE(each.says("gives up: enough"), each.text);
    }
  }
  // Threads that meet compare their calls.
  const auto other = folding(meeting::threads_meet, [](auto& world, auto mine) {
    all_reduce<algorithm>(world, mine.subspan(0, 300));
  });
  for (const outcome& each : other) {
    CHECK_MESSAGE(each.told(), each.text);
    CHECK_MESSAGE(each.how != ending::other, each.text);
  }
  CHECK_MESSAGE(other[3].says("300 x float"), other[3].text);
}
