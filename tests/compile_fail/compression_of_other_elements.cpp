// expect: a compression is made without arguments and has a function combine
#include <allfold/allfold.hpp>

#include <array>
#include <span>
#include <vector>

struct model {
  std::vector<float> weights, slopes;

  auto parameters() { return std::array{std::span{weights}}; }
  auto gradients() { return std::array{std::span{slopes}}; }
};

struct halves {
#ifdef POSITIVE_CONTROL
  void combine(std::span<float> gradient, std::size_t, auto& ranks) { ranks.reduce(gradient); }
#else
  void combine(std::span<double> gradient, std::size_t, auto& ranks) { ranks.reduce(gradient); }
#endif
};
using strategy = allfold::distributed<allfold::direct, allfold::buckets<>, halves>;

void train(allfold::threads::communicator& world, model& mine) {
  allfold::data_parallel<model, strategy> replica{mine, world};
  replica.reduce_gradients();
}
