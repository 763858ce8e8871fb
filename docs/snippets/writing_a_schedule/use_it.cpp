#include "writing_a_schedule/use_it.hpp"

#include "support.hpp"

namespace writing_a_schedule_md::use_it {

TEST_CASE("writing_a_schedule.md: a schedule stands wherever an algorithm does") {
  std::vector<float> sums(2);
  docs::train(2, [&](auto& world, auto& model) {
    std::vector<float> data(5, static_cast<float>(world.rank() + 1));
    use<allfold::ring>(world, model, data);
    sums[static_cast<std::size_t>(world.rank())] = data[4];
  });
  for (const float each : sums) CHECK(each == 3);
}

}  // namespace writing_a_schedule_md::use_it
