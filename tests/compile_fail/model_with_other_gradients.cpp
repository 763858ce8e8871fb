// expect: a model's parameters and gradients are of one element type
#include <allfold/allfold.hpp>

#include <array>
#include <span>
#include <vector>

struct model {
  std::vector<float> weights;
#ifdef POSITIVE_CONTROL
  std::vector<float> slopes;
#else
  std::vector<double> slopes;
#endif

  auto parameters() { return std::array{std::span{weights}}; }
  auto gradients() { return std::array{std::span{slopes}}; }
};

void train(allfold::threads::communicator& world, model& mine) {
  allfold::data_parallel<model, allfold::distributed<>> replica{mine, world};
  replica.reduce_gradients();
}
