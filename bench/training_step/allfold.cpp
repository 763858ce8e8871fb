// The library's part of bench/training: trains by every strategy as it is told; ranks are threads.
//   bench_training_step RANKS    waits for orders on its standard input, and answers each by a line
//   bench_training_step --about  tells how it was compiled
//
//   work …                           how much of it there is
//   turn CONTENDER BATCH STEPS WAY…  the µs of a step, for each WAY: together or apart
//   state CONTENDER BATCH WAY        steps, the loss at first and at last, each rank's parameters
//   way HOPS                         the ns of a cache line's way from one core to the other
//
// The folder of the data set is in the environment, as FASHION_MNIST.
#include "../peers/hardware.hpp"
#include "../peers/serve.hpp"
#include "trainee.hpp"

#include <unistd.h>

#include <allfold/allfold.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace {

using allfold::distributed;
using world = allfold::threads::communicator;
using training::contender;

constexpr std::size_t warm_up = 2;  // steps at first: others have had the caches

template <class Strategy>
std::unique_ptr<contender> make(const fashion_mnist::dataset& data, world& ranks,
                                std::size_t per_batch) {
  return std::make_unique<training::contender_by<Strategy>>(data, ranks, per_batch);
}

const std::map<std::string, decltype(&make<distributed<>>), std::less<>> makers{
    {"distributed<direct>", make<distributed<allfold::direct>>},
    {"distributed<ring>", make<distributed<allfold::ring>>},
    {"distributed<tree>", make<distributed<allfold::tree>>},
    {"primary_device<>", make<allfold::primary_device<>>},
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

bool is_together(const std::string& way) {
  if (way == "together" || way == "apart") return way == "together";
  throw std::invalid_argument{"not a way to train: " + way};
}

class server {
 public:
  server(world& ranks, const fashion_mnist::dataset& data, peers::ping_pong& ball)
      : world_{ranks}, data_{data}, ball_{ball} {}

  /// Every rank calls it; returns when it is over.
  void operator()() {
    for (;;) {
      peers::line text{};
      if (world_.rank() == 0) text = peers::read_line();
      allfold::broadcast(world_, std::span{text});
      std::istringstream words{text.data()};
      std::string what;
      if (!(words >> what)) return;
      const std::string answer = carry_out(what, words);
      if (world_.rank() != 0) continue;
      std::printf("%s\n", answer.c_str());
      std::fflush(stdout);
    }
  }

 private:
  std::string carry_out(const std::string& what, std::istream& words) {
    std::ostringstream answer;
    answer.precision(std::numeric_limits<float>::max_digits10);
    if (what == "work")
      work(answer);
    else if (what == "turn")
      turn(words, answer);
    else if (what == "state")
      state(words, answer);
    else if (what == "way")
      way(words, answer);
    else
      throw std::invalid_argument{"not an order: " + what};
    return answer.str();
  }

  void work(std::ostream& answer) {
    fashion_mnist::mlp model{training::seed};
    answer << "parameters=" << fashion_mnist::byte_count(model.parameters()) / sizeof(float)
           << " gradient_bytes=" << fashion_mnist::byte_count(model.gradients())
           << " images=" << data_.size();
  }

  void turn(std::istream& words, std::ostream& answer) {
    contender& it = find(words);
    std::size_t steps = 0;
    if (!(words >> steps) || steps == 0) throw std::invalid_argument{"a turn needs steps"};
    for (std::string how; words >> how;) answer << microseconds(it, is_together(how), steps) << ' ';
  }

  void state(std::istream& words, std::ostream& answer) {
    contender& it = find(words);
    std::string how;
    words >> how;
    training::trainee& mine = is_together(how) ? it.together : it.apart;
    const std::uint64_t hash = fashion_mnist::hash(mine.model.parameters());
    std::vector<std::uint64_t> all(static_cast<std::size_t>(world_.size()));
    allfold::all_gather(world_, std::span{&hash, 1}, all);
    answer << mine.losses.size() << ' ' << mine.early_loss() << ' ' << mine.late_loss();
    for (const std::uint64_t each : all) answer << ' ' << std::hex << each;
  }

  void way(std::istream& words, std::ostream& answer) {
    int hops = 0;
    words >> hops;
    allfold::barrier(world_);
    const auto begin = std::chrono::steady_clock::now();
    ball_(world_.rank(), hops);
    answer << 1e9 * seconds_since(begin) / hops;
  }

  /// The contender that is named with its batch; made at its first turn, by all ranks.
  contender& find(std::istream& words) {
    std::pair<std::string, std::size_t> key;
    if (!(words >> key.first >> key.second) || key.second == 0)
      throw std::invalid_argument{"an order needs a contender and its batch"};
    const auto maker = makers.find(key.first);
    if (maker == makers.end()) throw std::invalid_argument{"no contender: " + key.first};
    std::unique_ptr<contender>& it = contenders_[key];
    if (!it) it = maker->second(data_, world_, key.second);
    return *it;
  }

  /// Of a step on the rank that takes longest. Ranks begin together.
  double microseconds(contender& it, bool together, std::size_t steps) {
    const auto repeat = [&](std::size_t times) {
      for (std::size_t i = 0; i < times; ++i) together ? it.step_together() : it.step_apart();
    };
    (together ? it.together : it.apart).reserve(warm_up + steps);
    repeat(warm_up);
    allfold::barrier(world_);
    const auto begin = std::chrono::steady_clock::now();
    repeat(steps);
    double us = 1e6 * seconds_since(begin) / static_cast<double>(steps);
    allfold::all_reduce(world_, std::span{&us, 1}, allfold::maximum{});
    return us;
  }

  world& world_;
  const fashion_mnist::dataset& data_;
  peers::ping_pong& ball_;
  std::map<std::pair<std::string, std::size_t>, std::unique_ptr<contender>> contenders_;
};

int run(int ranks) {
  const char* folder = std::getenv("FASHION_MNIST");
  if (folder == nullptr) throw std::invalid_argument{"FASHION_MNIST is not set"};
  const fashion_mnist::dataset data = fashion_mnist::load(folder, "train", 60000);
  peers::ping_pong ball;
  allfold::spawn(ranks,
                 [&](world& all) {
                   if (all.rank() == 0) peers::announce({static_cast<int>(getpid())});
                   server{all, data, ball}();
                 },
                 {.timeout = std::chrono::hours{24}, .pin = true});
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc > 1 && std::string_view{argv[1]} == "--about") {
    std::printf("%s, Eigen %d.%d.%d\n", TRAINING_COMPILED_WITH, EIGEN_WORLD_VERSION,
                EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION);
    return 0;
  }
  return run(argc > 1 ? std::stoi(argv[1]) : 2);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
