// Processes of a training are killed and stopped at random, and those that are left still learn.
#include <allfold/allfold.hpp>
#include <allfold/data_parallel/batch_cursor.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "support/shared_with_children.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <csignal>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using allfold::interrupted;
using allfold::process_ending;
using world_type = allfold::processes::communicator;

/// Ten blurred pictures, and samples of them under noise: a small Fashion-MNIST.
struct pictures {
  static constexpr std::size_t pixels = 64, classes = 10;
  std::vector<float> images;
  std::vector<std::size_t> labels;

  pictures(std::size_t count, unsigned seed) {
    std::mt19937 random{77};
    std::normal_distribution<float> normal;
    std::vector<float> prototypes(pixels * classes);
    for (float& each : prototypes) each = normal(random);
    random.seed(seed);
    for (std::size_t i = 0; i < count; ++i) {
      labels.push_back(random() % classes);
      for (std::size_t p = 0; p < pixels; ++p)
        images.push_back(prototypes[labels[i] * pixels + p] + 2.0f * normal(random));
    }
  }
  std::span<const float> operator[](std::size_t index) const {
    return std::span{images}.subspan(index * pixels, pixels);
  }
  std::size_t size() const { return labels.size(); }
};

/// A perceptron with one hidden layer, and its optimizer.
struct perceptron {
  static constexpr std::size_t in = pictures::pixels, hidden = 32, out = pictures::classes;
  std::vector<std::vector<float>> values, slopes, speed;
  float rate = 0;

  perceptron() {
    std::mt19937 random{5};
    std::normal_distribution<float> normal;
    for (const std::size_t size : {in * hidden, hidden, hidden * out, out}) {
      values.emplace_back(size);
      slopes.emplace_back(size);
      speed.emplace_back(size);
      if (size > hidden)
        for (float& each : values.back()) each = 0.1f * normal(random);
    }
  }
  std::vector<std::span<float>> parameters() { return {values.begin(), values.end()}; }
  std::vector<std::span<float>> gradients() { return {slopes.begin(), slopes.end()}; }

  std::array<float, out> infer(std::span<const float> x, std::array<float, hidden>& h) const {
    for (std::size_t j = 0; j < hidden; ++j) {
      h[j] = values[1][j];
      for (std::size_t i = 0; i < in; ++i) h[j] += values[0][j * in + i] * x[i];
      h[j] = std::max(h[j], 0.0f);
    }
    std::array<float, out> y;
    for (std::size_t k = 0; k < out; ++k) {
      y[k] = values[3][k];
      for (std::size_t j = 0; j < hidden; ++j) y[k] += values[2][k * hidden + j] * h[j];
    }
    return y;
  }
  void backward(const pictures& data, std::span<const std::size_t> batch, auto&& ready) {
    for (auto& each : slopes) std::fill(each.begin(), each.end(), 0.0f);
    for (const std::size_t sample : batch) {
      std::array<float, hidden> h;
      std::array<float, out> error = infer(data[sample], h);
      const float highest = *std::max_element(error.begin(), error.end());
      float total = 0;
      for (float& each : error) total += each = std::exp(each - highest);
      for (float& each : error) each /= total * static_cast<float>(batch.size());
      error[data.labels[sample]] -= 1.0f / static_cast<float>(batch.size());
      for (std::size_t k = 0; k < out; ++k) {
        slopes[3][k] += error[k];
        for (std::size_t j = 0; j < hidden; ++j) slopes[2][k * hidden + j] += error[k] * h[j];
      }
      for (std::size_t j = 0; j < hidden; ++j) {
        float below = 0;
        for (std::size_t k = 0; k < out; ++k) below += values[2][k * hidden + j] * error[k];
        if (h[j] <= 0) continue;
        slopes[1][j] += below;
        for (std::size_t i = 0; i < in; ++i) slopes[0][j * in + i] += below * data[sample][i];
      }
    }
    for (std::size_t i = slopes.size(); i > 0; --i) ready(i - 1);
  }
  void operator()(std::size_t i, std::span<float> parameter, std::span<const float> gradient) {
    for (std::size_t k = 0; k < parameter.size(); ++k) {
      speed[i][k] = 0.9f * speed[i][k] + gradient[k];
      parameter[k] -= rate * speed[i][k];
    }
  }
  std::uint64_t bits() const { return allfold::detail::fingerprint_of(spans()); }
  std::vector<std::span<const float>> spans() const { return {values.begin(), values.end()}; }
};

/// The share of pictures that a model gets right; every rank looks at some.
double accuracy(world_type& world, const perceptron& model, const pictures& test) {
  std::vector<std::uint64_t> right{0};
  std::array<float, perceptron::hidden> h;
  for (auto i = static_cast<std::size_t>(world.rank()); i < test.size();
       i += static_cast<std::size_t>(world.size())) {
    const auto y = model.infer(test[i], h);
    const auto best = std::max_element(y.begin(), y.end()) - y.begin();
    right[0] += static_cast<std::size_t>(best) == test.labels[i];
  }
  allfold::all_reduce(world, right);
  return static_cast<double>(right[0]) / static_cast<double>(test.size());
}

/// What happens to a rank in a step.
struct fault {
  int rank, signal;
  std::uint64_t step;
  int microseconds;
};

struct results {
  struct {
    bool finished = false;
    double accuracy = 0;
    std::uint64_t bits = 0, steps = 0;
    int size = 0, failures = 0;
  } of[8];
};

void suffer(const std::vector<fault>& faults, int rank, std::uint64_t step) {
  for (const fault& each : faults) {
    if (each.rank != rank) continue;
    while (step > each.step + 4) pause();  // until it happens
    if (each.step == step)
      std::thread{[each] {
        std::this_thread::sleep_for(std::chrono::microseconds{each.microseconds});
        kill(getpid(), each.signal);
      }}.detach();
  }
}

void train(world_type& world, const std::vector<fault>& faults, interrupted how, results& all) {
  using namespace allfold;
  static const pictures training{1500, 1}, test{500, 2};
  const int before = world.rank(), size = world.size();
  auto& mine = all.of[before];
  perceptron model;
  data_parallel<perceptron, distributed<ring, buckets<1 << 12, 1 << 12>>> replica{
      model, world, {.overlap = size % 2 == 0 ? overlap::by_thread : overlap::none}};
  batch_cursor cursor{distributed_sampler{training.size(), world, {.seed = 4}}, 10};
  for (bool failed = false, done = false; !done;) try {
      if (std::exchange(failed, false)) {
        world = world.shrink();
        const auto found = replica.continue_on(world, [&](auto&& share) {
          share(model.speed);
          share(cursor);
        });
        cursor.go_on(world, found, how);
        ++mine.failures;
      }
      // Fewer ranks take fewer samples in a step.
      model.rate = 0.005f * static_cast<float>(world.size());
      for (; cursor.epoch() < 6; cursor.advance()) {
        suffer(faults, before, replica.steps());
        replica.backward([&](auto&& ready) { model.backward(training, cursor.batch(), ready); });
        replica.step(model);
      }
      mine.accuracy = accuracy(world, model, test);
      barrier(world);
      done = true;
    } catch (const error&) {
      failed = true;
    }
  mine.bits = model.bits();
  mine.steps = replica.steps();
  mine.size = world.size();
  mine.finished = true;
}

/// Trains on so many processes; the accuracy of those that are left.
double learn(int size, const std::vector<fault>& faults, interrupted how) {
  test::shared_with_children<results> all;
  const bool stops = std::any_of(faults.begin(), faults.end(),
                                 [](const fault& each) { return each.signal == SIGSTOP; });
  const auto endings = allfold::try_spawn_processes(
      size, [&](world_type& world) { train(world, faults, how, *all); },
      {.timeout = stops ? 2s : 60s, .arena_bytes = std::size_t{64} << 20});
  const int left = size - static_cast<int>(faults.size());
  int first = -1, found = 0;
  for (const process_ending& each : endings) {
    const auto& its = all->of[each.rank];
    const bool is_lost = std::any_of(faults.begin(), faults.end(),
                                     [&](const fault& it) { return it.rank == each.rank; });
    CAPTURE(each.rank);
    REQUIRE_MESSAGE(its.finished == !is_lost, each.in_words());
    if (is_lost) continue;
    CHECK_MESSAGE(each.good(), each.in_words());
    if (first < 0) first = each.rank;
    CHECK(its.bits == all->of[first].bits);
    CHECK(its.steps == all->of[first].steps);
    CHECK(its.accuracy == all->of[first].accuracy);
    CHECK(its.size == left);
    CHECK((its.failures > 0) == !faults.empty());
    ++found;
  }
  CHECK(found == left);
  return first < 0 ? 0 : all->of[first].accuracy;
}

}  // namespace

TEST_CASE("a training whose processes are killed and stopped at random ends as well as any other") {
  const double undisturbed = learn(4, {}, interrupted::repeat);
  CHECK(undisturbed > 0.9);
  for (unsigned seed = 0; seed < 8; ++seed) {
    std::mt19937 random{seed};
    const int size = 3 + static_cast<int>(random() % 3);
    std::vector<fault> faults;
    std::vector<int> ranks(static_cast<std::size_t>(size));
    for (int rank = 0; rank < size; ++rank) ranks[static_cast<std::size_t>(rank)] = rank;
    std::shuffle(ranks.begin(), ranks.end(), random);
    ranks.resize(1 + random() % (ranks.size() - 1));
    for (const int rank : ranks)
      faults.push_back({rank, SIGKILL, random() % 100, static_cast<int>(random() % 2000)});
    if (seed % 4 == 3) faults[0].signal = SIGSTOP;
    CAPTURE(seed);
    CAPTURE(size);
    const double found =
        learn(size, faults, seed % 2 == 0 ? interrupted::repeat : interrupted::drop);
    CHECK(found > undisturbed - 0.04);
  }
}
