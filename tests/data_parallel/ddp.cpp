// Trains what PyTorch's DistributedDataParallel was seen to train, to what it came to.
#include <allfold/allfold.hpp>

#include "communicator/outcome.hpp"
#include "ddp_golden.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

namespace {

using namespace outcomes;
using namespace allfold;

constexpr int steps = 20, batch = 4;
constexpr int inputs = 4, hidden = 5, outputs = 3;

/// The perceptron of ddp_golden.py, with its first weights and its data.
class perceptron {
 public:
  perceptron() {
    int number = 0;
    for (std::vector<float>* each : {&weights_[1], &weights_[2], &weights_[0], &weights_[3],
                                     &weights_[4]})  // the order of the formula
      for (float& value : *each) value = static_cast<float>(0.3 * std::cos(1.1 * number++));
  }
  std::vector<std::span<float>> parameters() { return {weights_.begin(), weights_.end()}; }
  std::vector<std::span<float>> gradients() { return {slopes_.begin(), slopes_.end()}; }
  void clear() {
    for (auto& each : slopes_) std::fill(each.begin(), each.end(), 0.0f);
  }

  /// Adds the gradient of the mean squared error over a batch, and says which are ready.
  void backward(int first, bool gated, auto&& ready) {
    std::vector<float> hiddens(batch * hidden), errors(batch * outputs), plain(batch * outputs);
    forward(first, gated, hiddens, plain, errors);
    back(first, gated, hiddens, plain, errors);
    if (gated) ready(0);
    for (std::size_t i = 4; i > 0; --i) ready(i);
  }

 private:
  static float input(int sample, int i) {
    return static_cast<float>(std::sin(0.7 * sample + 1.3 * i));
  }
  static float target(int sample, int i) {
    return static_cast<float>(std::cos(0.4 * sample - 0.9 * i));
  }
  float& weight(int which, int i) { return weights_[at(which)][at(i)]; }
  float& slope(int which, int i) { return slopes_[at(which)][at(i)]; }

  void forward(int first, bool gated, std::vector<float>& hiddens, std::vector<float>& plain,
               std::vector<float>& errors) {
    for (int s = 0; s < batch; ++s) {
      for (int h = 0; h < hidden; ++h) {
        float sum = weight(2, h);
        for (int i = 0; i < inputs; ++i) sum += weight(1, h * inputs + i) * input(first + s, i);
        hiddens[at(s * hidden + h)] = std::tanh(sum);
      }
      for (int o = 0; o < outputs; ++o) {
        float sum = weight(4, o);
        for (int h = 0; h < hidden; ++h)
          sum += weight(3, o * hidden + h) * hiddens[at(s * hidden + h)];
        plain[at(s * outputs + o)] = sum;
        const float result = gated ? sum * (1 + weight(0, o)) : sum;
        errors[at(s * outputs + o)] =
            2 * (result - target(first + s, o)) / static_cast<float>(batch * outputs);
      }
    }
  }
  void back(int first, bool gated, const std::vector<float>& hiddens,
            const std::vector<float>& plain, const std::vector<float>& errors) {
    for (int s = 0; s < batch; ++s) {
      std::vector<float> towards(hidden, 0.0f);
      for (int o = 0; o < outputs; ++o) {
        float error = errors[at(s * outputs + o)];
        if (gated) {
          slope(0, o) += error * plain[at(s * outputs + o)];
          error *= 1 + weight(0, o);
        }
        slope(4, o) += error;
        for (int h = 0; h < hidden; ++h) {
          slope(3, o * hidden + h) += error * hiddens[at(s * hidden + h)];
          towards[at(h)] += error * weight(3, o * hidden + h);
        }
      }
      for (int h = 0; h < hidden; ++h) {
        const float value = hiddens[at(s * hidden + h)];
        const float error = towards[at(h)] * (1 - value * value);
        slope(2, h) += error;
        for (int i = 0; i < inputs; ++i) slope(1, h * inputs + i) += error * input(first + s, i);
      }
    }
  }

  // PyTorch's order: gate, first.weight, first.bias, second.weight, second.bias
  std::vector<std::vector<float>> weights_{
      std::vector<float>(outputs), std::vector<float>(hidden* inputs), std::vector<float>(hidden),
      std::vector<float>(outputs* hidden), std::vector<float>(outputs)};
  std::vector<std::vector<float>> slopes_ = weights_;
};

struct momentum {
  std::vector<std::vector<float>> speed = std::vector<std::vector<float>>(5);
  void operator()(std::size_t i, std::span<float> parameter, std::span<const float> gradient) {
    speed[i].resize(parameter.size());
    for (std::size_t k = 0; k < parameter.size(); ++k) {
      speed[i][k] = 0.9f * speed[i][k] + gradient[k];
      parameter[k] -= 0.1f * speed[i][k];
    }
  }
};

/// A rank's training as the script has it. Returns the parameters side by side.
template <class Strategy>
std::vector<float> train(auto& world, const std::string& which, overlap how) {
  perceptron model;
  momentum optimizer;
  data_parallel<perceptron, Strategy> replica{
      model, world, {.overlap = how, .unused = which == "gated" ? unused::error : unused::keep}};
  const auto backward = [&](int turn, bool gated) {
    replica.backward([&](auto&& ready) {
      model.backward((turn * world.size() + world.rank()) * batch, gated, ready);
    });
  };
  const auto step = [&](int number) {
    model.clear();
    if (which == "no_sync") {
      {
        const auto guard = replica.no_sync();
        backward(2 * number, true);
      }
      backward(2 * number + 1, true);
    } else {
      backward(number, which != "unused" || (world.rank() == 0 && number % 2 == 0));
    }
    replica.step(optimizer);
  };
  if (which.starts_with("join")) {
    auto joined = replica.join(
        {.divide_by = which == "join_initial" ? divide_by::initial_ranks : divide_by::live_ranks});
    for (int number = 0; number < steps - 3 * world.rank(); ++number) step(number);
    joined.finish(optimizer);
  } else {
    for (int number = 0; number < steps; ++number) step(number);
  }
  std::vector<float> all;
  for (const std::span<float> each : model.parameters())
    all.insert(all.end(), each.begin(), each.end());
  return all;
}

/// The largest difference, relative to 1 or to what is larger.
float difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  float most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(a[i] - b[i]) / std::max(1.0f, std::abs(b[i])));
  return most;
}

}  // namespace

TEST_CASE_TEMPLATE("trains as PyTorch does", strategy, distributed<direct, buckets<32, 64>>,
                   distributed<ring, buckets<32, 64>>, distributed<tree>,
                   distributed<halving_doubling>, primary_device<0, buckets<32, 64>>) {
  for (const ddp_golden::outcome& golden : ddp_golden::outcomes)
    for (const overlap how : {overlap::none, overlap::by_thread}) {
      CAPTURE(golden.name);
      CAPTURE(golden.ranks);
      std::vector<std::vector<float>> found(at(golden.ranks));
      spawn(golden.ranks, [&](auto& world) {
        found[at(world.rank())] = train<strategy>(world, golden.name, how);
      });
      CHECK(difference(found[0], golden.parameters) < 2e-6f);
      for (const auto& each : found)
        CHECK(std::memcmp(each.data(), found[0].data(), 4 * each.size()) == 0);
    }
}

TEST_CASE("what PyTorch trains to depends on what is done") {
  const auto of = [](const std::string& name, int ranks) {
    for (const ddp_golden::outcome& each : ddp_golden::outcomes)
      if (each.name == name && each.ranks == ranks) return each.parameters;
    return std::vector<float>{};
  };
  for (const char* other : {"no_sync", "join_initial", "join_live", "unused"})
    CHECK(difference(of("gated", 2), of(other, 2)) > 1e-3f);
  CHECK(difference(of("gated", 2), of("gated", 3)) > 1e-3f);
}
