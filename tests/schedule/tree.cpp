#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

namespace {

using namespace allfold;

constexpr int most_ranks = 300;

using shape = std::function<tree_node(int node, int size)>;

int ceil_log2(int size) {
  int log = 0;
  while ((std::int64_t{1} << log) < size) ++log;
  return log;
}

int depth_of(int node, int size, const shape& at) {
  int depth = 0;
  for (int parent = at(node, size).parent; parent >= 0 && depth <= size; ++depth)
    parent = at(parent, size).parent;
  return depth;
}

/// Expects one root, that every node reaches it, that parents and children know each other, and
/// that no way is longer than it must be. Returns the root.
int expect_tree(int size, const shape& at) {
  INFO(size, " ranks");
  int root = -1, roots = 0, height = 0, children = 0, strangers = 0;
  for (int node = 0; node < size; ++node) {
    const tree_node it = at(node, size);
    if (it.is_root()) {
      root = node;
      ++roots;
    } else {
      const tree_node above = at(it.parent, size);
      strangers += above.low != node && above.high != node;
    }
    for (const int child : {it.low, it.high}) {
      if (child < 0) continue;
      ++children;
      strangers += child >= size || at(child, size).parent != node;
    }
    CHECK(it.is_leaf() == (it.low < 0 && it.high < 0));  // an only child is the low one
    CHECK((it.high < 0 || it.low < it.high));
    height = std::max(height, depth_of(node, size, at));
  }
  CHECK(roots == 1);
  CHECK(strangers == 0);
  CHECK(children == size - 1);
  CHECK(height == ceil_log2(size));
  CHECK(height == tree_height(size));
  return root;
}

tree_node first_tree(int rank, int size) { return double_tree(0, rank, size); }
tree_node second_tree(int rank, int size) { return double_tree(1, rank, size); }

/// All nodes below `node`, itself included.
std::vector<int> below(int node, int size) {
  std::vector<int> all;
  if (node < 0) return all;
  all.push_back(node);
  for (std::size_t i = 0; i < all.size(); ++i)
    for (const int child : {in_order_tree(all[i], size).low, in_order_tree(all[i], size).high})
      if (child >= 0) all.push_back(child);
  return all;
}

}  // namespace

TEST_CASE("in_order_tree spans all ranks from rank 0, in the fewest hops") {
  for (int size = 1; size <= most_ranks; ++size) CHECK(expect_tree(size, in_order_tree) == 0);
}

TEST_CASE("in_order_tree: odd ranks are leaves, and rank 0 has one child at most") {
  for (int size = 1; size <= most_ranks; ++size) {
    INFO(size, " ranks");
    CHECK(in_order_tree(0, size).high < 0);
    for (int rank = 1; rank < size; ++rank)
      CHECK(in_order_tree(rank, size).is_leaf() == (rank % 2 == 1));
  }
}

TEST_CASE("in_order_tree: what lies left of a rank has lower numbers, what lies right higher") {
  for (int size = 1; size <= 100; ++size)
    for (int rank = 1; rank < size; ++rank) {
      const std::vector<int> left = below(in_order_tree(rank, size).low, size);
      const std::vector<int> right = below(in_order_tree(rank, size).high, size);
      CHECK(std::all_of(left.begin(), left.end(), [=](int each) { return each < rank; }));
      CHECK(std::all_of(right.begin(), right.end(), [=](int each) { return each > rank; }));
    }
}

TEST_CASE("double_tree: both trees span all ranks in the fewest hops, from different roots") {
  for (int size = 1; size <= most_ranks; ++size) {
    const int first = expect_tree(size, first_tree);
    const int second = expect_tree(size, second_tree);
    CHECK(first == 0);
    CHECK(second == (size == 1 ? 0 : size % 2 == 0 ? size - 1 : 1));
  }
}

TEST_CASE("double_tree: a rank works inside one tree and is a leaf of the other") {
  for (int size = 2; size <= most_ranks; ++size)
    for (int rank = 0; rank < size; ++rank) {
      INFO(size, " ranks, rank ", rank);
      const int inside =
          (first_tree(rank, size).is_leaf() ? 0 : 1) + (second_tree(rank, size).is_leaf() ? 0 : 1);
      CHECK(inside == (rank == 0 && size % 2 == 1 ? 2 : 1));  // but rank 0 of an odd number
    }
}

TEST_CASE("reduce and broadcast turn the tree so that the root is on top") {
  for (const int size : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 31, 32, 33, 100})
    for (int root = 0; root < size; ++root)
      CHECK(expect_tree(size, [root](int rank, int ranks) {
              return tree::reduce{root}.rooted(rank, ranks);
            }) == root);
}

TEST_CASE("tree_height is the logarithm, rounded up") {
  static_assert(tree_height(1) == 0 && tree_height(2) == 1 && tree_height(3) == 2);
  static_assert(tree_height(256) == 8 && tree_height(257) == 9);
  for (int size = 1; size <= 5000; ++size) CHECK(tree_height(size) == ceil_log2(size));
}
