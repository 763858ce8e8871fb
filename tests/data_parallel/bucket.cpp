#include <allfold/data_parallel/bucket.hpp>

#include <doctest/doctest.h>

#include <random>

namespace {

using namespace allfold;
using shapes = std::vector<gradient_shape>;
using members = std::vector<std::vector<std::size_t>>;

members of(const std::vector<bucket>& plan) {
  members all;
  for (const bucket& each : plan) all.push_back(each.members);
  return all;
}

/// What is known before the program runs.
static_assert([] {
  const auto plan = buckets<10, 100>::plan_of({{60}, {50}, {4}, {3}, {8}});
  return plan.size() == 2 && plan[0].members.size() == 2 && plan[0].bytes == 11 &&
         plan[1].bytes == 114;
}());

}  // namespace

TEST_CASE("the last gradients come first, and the one that reaches the cap closes the bucket") {
  using small = buckets<10, 100>;
  CHECK(of(small::plan_of({{60}, {50}, {4}, {3}, {8}})) == members{{4, 3}, {2, 1, 0}});
  CHECK(of(small::plan_of({{1}, {1}, {1}})) == members{{2, 1, 0}});
  CHECK(of(small::plan_of({{1000}, {1000}})) == members{{1}, {0}});
  CHECK(of(small::plan_of({{99}, {1}, {10}})) == members{{2}, {1, 0}});
  CHECK(of(small::plan_of({{98}, {1}, {10}, {0}})) == members{{3, 2}, {1, 0}});
  CHECK(small::plan_of({}).empty());
}

TEST_CASE("buckets never mix types") {
  const shapes mixed{{60, 1}, {60, 2}, {60, 1}, {60, 2}, {60, 1}};
  CHECK(of(buckets<100, 100>::plan_of(mixed)) == members{{4, 2}, {3, 1}, {0}});
}

TEST_CASE("another order than the models'") {
  const shapes three{{8}, {8}, {8}};
  CHECK(of(buckets<8, 16>::plan(three, {1, 2, 0})) == members{{1}, {2, 0}});
}

TEST_CASE("every gradient is in one bucket, whatever the sizes") {
  std::mt19937 random{3};
  for (int turn = 0; turn < 200; ++turn) {
    shapes all(random() % 40);
    for (gradient_shape& each : all) each = {random() % 300, random() % 3};
    const auto plan = buckets<64, 256>::plan_of(all);
    std::vector<int> seen(all.size(), 0);
    for (const bucket& each : plan) {
      std::size_t bytes = 0;
      for (const std::size_t index : each.members) {
        ++seen[index];
        bytes += all[index].bytes;
        CHECK(all[index].type == all[each.members[0]].type);
        // No bucket goes on behind the gradient that reached the cap.
        const bool is_last = index == each.members.back();
        const std::size_t cap = &each == &plan[0] ? 64 : 256;
        CHECK((is_last || bytes < cap));
      }
      CHECK(bytes == each.bytes);
    }
    CHECK(seen == std::vector<int>(all.size(), 1));
  }
}

TEST_CASE("PyTorch's sizes by default, and a plan as text") {
  CHECK(buckets<>::first_bytes == 1 << 20);
  CHECK(buckets<>::rest_bytes == 25 << 20);
  CHECK(describe(buckets<10, 100>::plan_of({{60}, {8}, {8}})) ==
        "bucket 0: 16 bytes: gradients 2, 1\nbucket 1: 60 bytes: gradients 0\n");
}
