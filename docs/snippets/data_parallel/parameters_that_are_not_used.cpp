#include "data_parallel/parameters_that_are_not_used.hpp"

#include "support.hpp"

namespace data_parallel_md::parameters_that_are_not_used {

/// Ranks choose one expert each; the last one is chosen by none.
struct experts : docs::learner {
  std::size_t own = 0;

  experts() : docs::learner{{2, 2, 2}} {}
  std::vector<std::size_t> chosen(float) const { return {own}; }
  void backward(std::size_t expert, float goal) {
    for (std::size_t k = 0; k < 2; ++k) slopes[expert][k] = values[expert][k] - goal;
  }
};

TEST_CASE("data_parallel.md: a gradient that no rank uses stays as it was") {
  docs::descend optimizer;
  const auto end = docs::train<experts>(2, [&](auto& world, auto& model) {
    model.own = static_cast<std::size_t>(world.rank());
    model.slopes[2] = {4, 4};
    allfold::data_parallel<experts, allfold::distributed<>> replica{
        model, world, {.unused = allfold::unused::keep}};
    train_step(replica, model, 9.0f, optimizer);
  });
  // The other rank's gradient counts as zero; of what nobody used the optimizer finds the old one.
  CHECK(end.all() ==
        std::vector<float>{1 + 8 / 4.0f, 2 + 7 / 4.0f, 3 + 6 / 4.0f, 4 + 5 / 4.0f, 5 - 2, 6 - 2});
}

}  // namespace data_parallel_md::parameters_that_are_not_used
