#include "data_parallel/buckets.hpp"

#include "printed.hpp"
#include "support.hpp"

namespace data_parallel_md::buckets {

TEST_CASE("data_parallel.md: which gradients are reduced together") {
  constexpr std::size_t quarter = (1 << 20) / sizeof(float) / 4;
  const std::string text = docs::printed([] {
    allfold::spawn(1, [](auto& world) {
      docs::learner model{{1, 2, 3, 2 * quarter, quarter, quarter}};
      print_plan(model, world);
    });
  });
  CHECK(text ==
        "bucket 0: 1048576 bytes: gradients 5, 4, 3\n"
        "bucket 1: 24 bytes: gradients 2, 1, 0\n");
}

}  // namespace data_parallel_md::buckets
