// expect: a model's parameters and gradients are written, so they can't be const
#include <allfold/allfold.hpp>

#include <array>
#include <span>
#include <vector>

struct model {
  std::vector<float> weights, slopes;

#ifdef POSITIVE_CONTROL
  auto parameters() { return std::array{std::span{weights}}; }
#else
  auto parameters() const { return std::array{std::span{weights}}; }
#endif
  auto gradients() { return std::array{std::span{slopes}}; }
};

void train(allfold::threads::communicator& world, model& mine) {
  allfold::data_parallel<model, allfold::distributed<>> replica{mine, world};
  replica.reduce_gradients();
}
