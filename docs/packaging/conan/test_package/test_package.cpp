// Two ranks add up what they hold.
#include <allfold/allfold.hpp>

#include <atomic>
#include <vector>

int main() {
  std::atomic<int> right{0};
  allfold::spawn(2, [&](auto& world) {
    std::vector<float> values(3, world.rank() == 0 ? 1.0f : 2.0f);
    allfold::all_reduce(world, values);
    if (values == std::vector<float>(3, 3.0f)) ++right;
  });
  return right == 2 ? 0 : 1;
}
