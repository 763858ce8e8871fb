// Writes into a folder what other programs are to read: a trace of three ranks that train, and an
// event file, with what it must hold in plain text beside it.
#include <allfold/allfold.hpp>
#include <allfold/observe/gather_trace.hpp>
#include <allfold/observe/tensorboard.hpp>

#include <cstdio>
#include <string>
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
  allfold::spawn(3, [&](auto& world) {
    allfold::timeline line{world.rank(), "forward/backward"};
    train(world, line);
    allfold::gather_trace(world, std::span{&line, 1}, folder + "/trace.json");
  });
  write_events(folder);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
