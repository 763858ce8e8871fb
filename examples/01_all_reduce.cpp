// Four ranks, each a thread of this process, add up what they hold: an all-reduce over a ring.
#include <allfold/allfold.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <vector>

int main() {
  constexpr int ranks = 4;
  std::atomic<int> right{0};

  allfold::spawn(ranks, [&](auto& world) {  // this runs once on every rank
    std::vector<float> gradient(1'000'000, static_cast<float>(world.rank() + 1));
    const float before = gradient.front();

    allfold::all_reduce<allfold::ring>(world, gradient);  // in place, by the sum

    std::printf("rank %d of %d: every element was %g and is now %g\n", world.rank(), world.size(),
                before, gradient.front());
    if (std::ranges::count(gradient, 10.0f) == std::ssize(gradient)) ++right;  // 1 + 2 + 3 + 4
  });
  return right == ranks ? 0 : 1;
}
