// expect: a model has parameters\(\), a member or a free function beside its type
#include <allfold/allfold.hpp>

#include <array>
#include <span>
#include <vector>

struct model {
  std::vector<float> weights, slopes;

#ifdef POSITIVE_CONTROL
  auto parameters() { return std::array{std::span{weights}}; }
#endif
  auto gradients() { return std::array{std::span{slopes}}; }
};

void train(allfold::threads::communicator& world, model& mine) {
  allfold::data_parallel<model, allfold::distributed<>> replica{mine, world};
  replica.reduce_gradients();
}
