// expect: a model has gradients\(\), a member or a free function beside its type
#include <allfold/allfold.hpp>

#include <array>
#include <span>
#include <vector>

struct model {
  std::vector<float> weights, slopes;

  auto parameters() { return std::array{std::span{weights}}; }
#ifdef POSITIVE_CONTROL
  auto gradients() { return std::array{std::span{slopes}}; }
#endif
};

void train(allfold::threads::communicator& world, model& mine) {
  allfold::data_parallel<model, allfold::distributed<>> replica{mine, world};
  replica.reduce_gradients();
}
