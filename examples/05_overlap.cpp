// Gradients that are reduced while the backward pass still computes others.
//
// A perceptron is trained twice, a step of each in turn: once all gradients are reduced after the
// backward pass, once a second thread of each rank reduces them meanwhile, bucket by bucket. Prints
// what a step took, and writes a trace of one step of each. Arguments: rounds, the trace's file.
#include <allfold/allfold.hpp>
#include <allfold/observe/trace.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <vector>

using allfold::timeline;
using std::chrono::steady_clock;

constexpr std::size_t layers = 10, units = 512, samples = 16;  // samples: of a rank, in a step
constexpr std::size_t weights = units * units;                 // of a layer: 1 MiB
using strategy = allfold::distributed<allfold::direct, allfold::buckets<4 * weights, 4 * weights>>;

/// Layers with rectifiers in between, which learn to give their inputs back.
struct perceptron {
  std::vector<float> values = std::vector<float>(layers * weights);
  std::vector<std::span<float>> slopes;
  std::vector<float> outputs = std::vector<float>((layers + 1) * samples * units);
  std::vector<float> errors = std::vector<float>(2 * samples * units);

  perceptron() {
    std::mt19937 random{1};
    std::normal_distribution<float> normal{0.0f, std::sqrt(2.0f / units)};
    for (float& each : values) each = normal(random);
  }
  std::vector<std::span<float>> parameters() {
    std::vector<std::span<float>> parts;
    for (std::size_t layer = 0; layer < layers; ++layer)
      parts.push_back(std::span{values}.subspan(layer * weights, weights));
    return parts;
  }
  std::vector<std::span<float>> gradients() { return slopes; }
  /// The replica says where gradients lie: side by side, and they are reduced there.
  void bind_gradients(const std::vector<std::span<float>>& parts) { slopes = parts; }
  float* outputs_of(std::size_t layer) { return outputs.data() + layer * samples * units; }

  /// Layer 0's outputs are the inputs.
  void forward(const std::vector<float>& inputs) {
    std::copy(inputs.begin(), inputs.end(), outputs.begin());
    for (std::size_t layer = 0; layer < layers; ++layer)
      for (std::size_t s = 0; s < samples; ++s) {
        const float* in = outputs_of(layer) + s * units;
        float* out = outputs_of(layer + 1) + s * units;
        std::fill_n(out, units, 0.0f);
        for (std::size_t j = 0; j < units; ++j) {
          const float* weight = &values[layer * weights + j * units];
          for (std::size_t i = 0; i < units; ++i) out[i] += in[j] * weight[i];
        }
        if (layer + 1 < layers)
          for (std::size_t i = 0; i < units; ++i) out[i] = std::max(out[i], 0.0f);
      }
  }
  /// From the last layer to the first; of half the squared error, by the mean over the samples.
  template <class Ready>
  void backward(Ready&& ready) {
    float *error = errors.data(), *below = error + samples * units;
    for (std::size_t i = 0; i < samples * units; ++i)
      error[i] = (outputs_of(layers)[i] - outputs[i]) / samples;
    for (std::size_t layer = layers; layer-- > 0; std::swap(error, below)) {
      for (std::size_t j = 0; j < units; ++j) backward(layer, j, error, below);
      ready(layer);  // the gradient of this layer is final
    }
  }

 private:
  /// The gradient of the weights from input j of a layer, and that input's own error.
  void backward(std::size_t layer, std::size_t j, const float* error, float* below) {
    const float* weight = &values[layer * weights + j * units];
    float* slope = &slopes[layer][j * units];
    std::fill_n(slope, units, 0.0f);
    for (std::size_t s = 0; s < samples; ++s) {
      const float in = outputs_of(layer)[s * units + j];
      float sum[16] = {};  // that many sums at a time, for the compiler to compute at once
      for (std::size_t i = 0; i < units; i += 16)
        for (std::size_t k = 0; k < 16; ++k) {
          const float it = error[s * units + i + k];
          slope[i + k] += in * it;
          sum[k] += weight[i + k] * it;
        }
      float total = 0;
      for (const float each : sum) total += each;
      below[s * units + j] = in > 0 ? total : 0.0f;
    }
  }
};

double milliseconds(std::chrono::nanoseconds time) {
  return static_cast<double>(time.count()) / 1e6;
}
double median(std::vector<double> all) {
  std::nth_element(all.begin(), all.begin() + static_cast<long>(all.size() / 2), all.end());
  return all[all.size() / 2];
}

/// One of the two trainings, on one rank.
struct training {
  const char* name;
  perceptron model;
  allfold::data_parallel<perceptron, strategy> replica;
  std::vector<double> step, computation, communication, exposed;  // milliseconds, by step

  training(auto& world, const char* called, allfold::overlap how)
      : name{called}, replica{model, world, {.overlap = how}} {}

  void train(const std::vector<float>& inputs, timeline& line) {
    const auto whole = line.span(name);
    const int own = line.track("forward/backward"), others = line.track("communication");
    const auto begin = steady_clock::now();
    replica.forward([&] {
      const auto span = line.span("forward", own);
      model.forward(inputs);
    });
    replica.backward([&](auto&& ready) {
      auto from = steady_clock::now();
      model.backward([&](std::size_t layer) {
        line.add("backward " + std::to_string(layer), own, from, steady_clock::now());
        ready(layer);
        from = steady_clock::now();
      });
    });
    for (const allfold::bucket_times& each : replica.bucket_timeline())
      line.add("bucket", others, each.begin, each.end, {{"bytes", each.bytes}});
    line.begin("optimizer", own);
    replica.step([](std::span<float> parameter, std::span<const float> gradient) {
      for (std::size_t i = 0; i < parameter.size(); ++i) parameter[i] -= 1e-4f * gradient[i];
    });
    line.end(own);
    step.push_back(milliseconds(steady_clock::now() - begin));
    computation.push_back(milliseconds(replica.times().computation()));
    communication.push_back(milliseconds(replica.times().communication));
    exposed.push_back(milliseconds(replica.times().exposed));
  }
  void forget_times() { step = computation = communication = exposed = {}; }
  void print() const {
    std::printf("%-20s%8.2f%14.2f%16.2f%16.2f\n", name, median(step), median(computation),
                median(communication), median(exposed));
  }
};

/// What each rank does. Returns whether both trainings came to the same bits.
bool compare(auto& world, int rounds, timeline& line) {
  training after{world, "overlap::none", allfold::overlap::none};
  training meanwhile{world, "overlap::by_thread", allfold::overlap::by_thread};
  std::mt19937 random{static_cast<unsigned>(world.rank())};
  std::vector<float> inputs(samples * units);
  for (int round = -2; round < rounds; ++round) {  // two to warm up
    for (float& each : inputs) each = static_cast<float>(random() % 1000) / 1000.0f;
    if (round == 0) after.forget_times(), meanwhile.forget_times();
    if (round == rounds - 1) line = timeline{world.rank(), "step"};  // the last round is kept
    for (training* each : {&after, &meanwhile}) {
      allfold::barrier(world);
      each->train(inputs, line);
    }
  }
  if (world.rank() == 0) {
    std::printf("%-20s%8s%14s%16s%16s\n", "ms, medians", "step", "computation", "communication",
                "exposed of it");
    after.print();
    meanwhile.print();
    std::printf("exposed communication with overlap / without: %.2f\n",
                median(meanwhile.exposed) / median(after.exposed));
  }
  return after.model.values == meanwhile.model.values;
}

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::max(1, std::atoi(arguments[1])) : 30;
  const std::string file = count > 2 ? arguments[2] : "overlap_trace.json";
  const int cores = allfold::usable_cores(), ranks = std::max(2, cores / 2);
  std::printf("%d ranks on %d cores, %zu gradients of 1 MiB, %d steps\n", ranks, cores, layers,
              rounds);
  if (2 * ranks > cores)
    std::puts("Not every rank has a second core: its two threads take time from each other.");

  std::vector<timeline> lines;
  for (int rank = 0; rank < ranks; ++rank) lines.emplace_back(rank, "step");
  std::atomic<int> same{0};
  allfold::spawn(ranks, [&](auto& world) {
    same += compare(world, rounds, lines[static_cast<std::size_t>(world.rank())]);
  });
  allfold::write_trace(file, lines);
  std::printf("%s: a step of each, for https://ui.perfetto.dev\n", file.c_str());
  return same == ranks ? 0 : 1;
}
