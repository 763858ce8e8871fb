// expect: a strategy has share\(world, parameter, where\), static
#include <allfold/allfold.hpp>

#include <array>
#include <span>
#include <vector>

struct model {
  std::vector<float> weights, slopes;

  auto parameters() { return std::array{std::span{weights}}; }
  auto gradients() { return std::array{std::span{slopes}}; }
};

struct strategy {
  static constexpr bool steps_everywhere = true;
  using bucketing = allfold::buckets<>;
  using compression = allfold::uncompressed;

  static void reduce(auto& world, auto gradient, const auto& operation, std::source_location at) {
    allfold::all_reduce(world, gradient, operation, at);
  }
  static bool steps(auto&) { return true; }
#ifdef POSITIVE_CONTROL
  static void share(auto&, auto, std::source_location) {}
#endif
};

void train(allfold::threads::communicator& world, model& mine) {
  allfold::data_parallel<model, strategy> replica{mine, world};
  replica.reduce_gradients();
}
