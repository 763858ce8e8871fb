// Writes into a folder what other programs are to read: a trace of three ranks that train, two of
// replicas whose gradients are reduced meanwhile and afterwards, and an event file, with what it
// must hold in plain text beside it.
#include <allfold/allfold.hpp>
#include <allfold/observe/gather_trace.hpp>
#include <allfold/observe/tensorboard.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace {

/// Three steps of a rank: a forward pass, and a backward pass while whose parts gradients are
/// already reduced on another track.
void train(allfold::threads::communicator& world, allfold::timeline& line) {
  const int communication = line.track("communication");
  std::vector<float> gradient(10'000, 1.0f);
  for (int step = 0; step < 3; ++step) {
    line.step(step);
    const auto whole = line.span("step");
    { const auto forward = line.span("forward", 0, {{"samples", 64}, {"loss", 1.0 / (step + 1)}}); }
    line.begin("backward");
    for (int bucket = 0; bucket < 2; ++bucket) {
      const auto reduce =
          line.span("all_reduce \"" + std::to_string(bucket) + "\"\t\\", communication,
                    {{"bucket", bucket}, {"bytes", gradient.size() * 4}});
      allfold::all_reduce(world, gradient, allfold::average{});
    }
    line.end();
  }
}

/// No compression; says how many buckets' reductions have begun.
struct announcing {
  std::atomic<int> begun{0};

  template <class T, class Ranks>
  void combine(std::span<T> gradient, std::size_t, Ranks& ranks) {
    ++begun;
    ranks.reduce(gradient);
  }
};

struct four_layers {
  std::array<std::vector<float>, 4> values, slopes;

  four_layers() { values.fill(std::vector<float>(1000)), slopes = values; }
  auto parameters() { return std::vector<std::span<float>>(values.begin(), values.end()); }
  auto gradients() { return std::vector<std::span<float>>(slopes.begin(), slopes.end()); }
};

/// Three steps of a replica of four buckets. If they are reduced meanwhile, the backward pass goes
/// on once the reduction of what is ready has begun, so that this is seen on a slow machine as
/// well.
void train_replica(allfold::threads::communicator& world, allfold::timeline& line,
                   allfold::overlap how) {
  using strategy = allfold::distributed<allfold::direct, allfold::buckets<4000, 4000>, announcing>;
  four_layers model;
  allfold::data_parallel<four_layers, strategy> replica{model, world, {.overlap = how}};
  const std::atomic<int>& begun = replica.compression().begun;
  const int communication = line.track("communication");
  for (int step = 0; step < 3; ++step) {
    line.step(step);
    const int before = begun;
    replica.backward([&](auto&& ready) {
      const auto span = line.span("backward");
      const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{20};
      for (int layer = 3; layer >= 0; --layer) {
        ready(static_cast<std::size_t>(layer));
        while (replica.overlaps() && begun < before + 4 - layer &&
               std::chrono::steady_clock::now() < limit)
          std::this_thread::yield();
      }
    });
    int number = 0;
    for (const allfold::bucket_times& each : replica.bucket_timeline())
      line.add("bucket", communication, each.begin, each.end,
               {{"bucket", number++}, {"bytes", each.bytes}});
  }
}

/// Three ranks run `body(world, line)`.
void write_trace_of(const std::string& path, auto body) {
  allfold::spawn(3, [&](auto& world) {
    allfold::timeline line{world.rank(), "forward/backward"};
    body(world, line);
    allfold::gather_trace(world, std::span{&line, 1}, path);
  });
}

void write_events(const std::string& folder) {
  allfold::tensorboard_writer board{folder + "/events"};
  for (int step = 0; step < 100; ++step) board.scalar("train/loss", 1.0 / (step + 1), step);
  board.scalar("accuracy é", 0.875, 1'000'000'000'000);
  std::vector<double> weights;
  for (int i = -50; i <= 50; ++i) weights.push_back(0.25 * i);
  board.histogram("weights", weights, 99);
  board.flush();
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 2) throw allfold::error{"one argument is needed: a folder"};
  const std::string folder = arguments[1];
  write_trace_of(folder + "/trace.json", train);
  for (const auto how : {allfold::overlap::by_thread, allfold::overlap::none})
    write_trace_of(
        folder + (how == allfold::overlap::none ? "/afterwards.json" : "/meanwhile.json"),
        [how](auto& world, auto& line) { train_replica(world, line, how); });
  write_events(folder);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
