// expect: a strategy has steps_everywhere, a constant
#include <allfold/allfold.hpp>

#include <array>
#include <span>
#include <vector>

struct model {
  std::vector<float> weights, slopes;

  auto parameters() { return std::array{std::span{weights}}; }
  auto gradients() { return std::array{std::span{slopes}}; }
};

#ifdef POSITIVE_CONTROL
using strategy = allfold::distributed<allfold::ring>;
#else
using strategy = allfold::ring;  // an algorithm
#endif

void train(allfold::threads::communicator& world, model& mine) {
  allfold::data_parallel<model, strategy> replica{mine, world};
  replica.reduce_gradients();
}
