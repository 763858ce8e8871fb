// Trees: a logarithmic number of hops, whatever the number of ranks.
// Sanders, Speck and Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan",
// 2009; the shape of both trees is the one that NCCL documents for its double binary tree.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold {

/// A node's neighbours in a binary tree over the ranks; −1 where there is none.
struct tree_node {
  int parent = -1;
  int low = -1;   ///< the child of lower rank, or the only child
  int high = -1;  ///< the other child

  ALLFOLD_HOST_DEVICE constexpr bool is_leaf() const { return low < 0; }
  ALLFOLD_HOST_DEVICE constexpr bool is_root() const { return parent < 0; }
};

/// The in-order binary tree: node 0 on top with one child, every other node's height given by its
/// lowest set bit; odd nodes are leaves. What lies left of a node has lower numbers.
ALLFOLD_HOST_DEVICE constexpr tree_node in_order_tree(int node, int size) {
  tree_node it;
  if (node == 0) {
    int top = 1;
    while (2 * top < size) top *= 2;
    if (size > 1) it.low = top;
    return it;
  }
  const int bit = node & -node;
  const int above = (node ^ bit) | (2 * bit);
  it.parent = above < size ? above : node ^ bit;
  if (bit == 1) return it;
  it.low = node - bit / 2;
  int reach = bit / 2;
  while (reach > 0 && node + reach >= size) reach /= 2;
  if (reach > 0) it.high = node + reach;
  return it;
}

/// How many edges separate the root of the in-order tree from its deepest leaf, at most.
ALLFOLD_HOST_DEVICE constexpr int tree_height(int size) {
  int height = 0;
  for (int reach = 1; reach < size; reach *= 2) ++height;
  return height;
}

/// Tree `which` (0 or 1) of the double tree. The second is the mirror image of the first for an
/// even size and the first shifted by one for an odd size, so that a rank which works inside one
/// tree is a leaf of the other (but for at most one).
ALLFOLD_HOST_DEVICE constexpr tree_node double_tree(int which, int rank, int size) {
  if (which == 0) return in_order_tree(rank, size);
  const bool mirrored = size % 2 == 0;
  const tree_node image = in_order_tree(mirrored ? size - 1 - rank : wrap(rank - 1, size), size);
  const auto back = [=](int node) {
    return node < 0 ? -1 : mirrored ? size - 1 - node : (node + 1) % size;
  };
  tree_node it{back(image.parent), back(image.low), back(image.high)};
  if (it.high >= 0 && it.high < it.low) it = {it.parent, it.high, it.low};
  return it;
}

namespace detail {

/// The step in which a node folds its children's partial results, found in `partial`, and its own
/// input, in rank order where the tree allows. `leaf(child)` says that a child gives its bare
/// input.
template <class IsLeaf>
ALLFOLD_HOST_DEVICE constexpr step fold_children(step begun, int rank, tree_node node, int index,
                                                 buffer partial, IsLeaf is_leaf) {
  const auto add = [&](int child) {
    const bool bare = is_leaf(child);
    begun.from(only(child), bare ? buffer::input : partial)
        .after(only(child), bare ? entered : index);
  };
  const bool own_first = node.is_leaf() || rank < node.low;
  if (own_first) begun.from(only(rank), buffer::input);
  if (node.low >= 0) add(node.low);
  const bool own_second = !own_first && (node.high < 0 || rank < node.high);
  if (own_second) begun.from(only(rank), buffer::input);
  if (node.high >= 0) add(node.high);
  if (!own_first && !own_second) begun.from(only(rank), buffer::input);
  return begun;
}

/// Waits until both children of a node have completed a step.
ALLFOLD_HOST_DEVICE constexpr void push_children(waits& list, tree_node node, int index) {
  if (node.low >= 0 && node.high >= 0)
    list.push({ranks{node.low, 2, node.high - node.low}, index});
  else if (node.low >= 0)
    list.push({only(node.low), index});
}

}  // namespace detail

/// The tree algorithm; itself an all-reduce over a double binary tree: half of the elements are
/// folded up and copied down one tree, half the other. Pieces follow each other, and copying down
/// lags behind folding up by the height of the tree, so that neither waits for the other.
struct tree {
  static constexpr collective kind = collective::all_reduce;
  static constexpr std::string_view name = "tree";
  static constexpr std::size_t piece_bytes = 128 * 1024;

  ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 2; }
  /// Up the first tree, up the second, down the first, down the second.
  ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 4; }
  ALLFOLD_HOST_DEVICE constexpr int lag(int size, int index) const {
    return index < 2 ? 0 : tree_height(size);
  }
  ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
    const int which = index % 2;
    const tree_node node = double_tree(which, rank, size);
    if (index < 2) {
      if (node.is_leaf() && !node.is_root()) return {};
      const auto is_leaf = [=](int child) { return double_tree(which, child, size).is_leaf(); };
      return detail::fold_children(step{which}, rank, node, index, buffer::output, is_leaf)
          .to(only(rank), buffer::output)
          .complete(node.is_root());
    }
    if (node.is_root()) return {};
    const bool from_root = double_tree(which, node.parent, size).is_root();
    return step{which}
        .from(only(node.parent), buffer::output)
        .to(only(rank), buffer::output)
        .after(only(node.parent), from_root ? which : index);
  }
  ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
    waits list;
    detail::push_children(list, double_tree(0, rank, size), 2);
    detail::push_children(list, double_tree(1, rank, size), 3);
    return list;
  }

  /// Up one tree whose top is the root; the partial folds lie in scratch memory.
  struct reduce {
    static constexpr collective kind = collective::reduce;
    static constexpr std::string_view name = "tree";
    static constexpr std::size_t piece_bytes = 128 * 1024;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int scratch_chunks(int size) const { return size > 2 ? 1 : 0; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      const tree_node node = rooted(rank, size);
      if (node.is_leaf() && !node.is_root()) return {};
      const auto is_leaf = [=, this](int child) { return rooted(child, size).is_leaf(); };
      return detail::fold_children(step{}, rank, node, 0, buffer::scratch, is_leaf)
          .to(only(rank), node.is_root() ? buffer::output : buffer::scratch)
          .complete(node.is_root());
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      const tree_node node = rooted(rank, size);
      waits list;
      if (!node.is_root()) list.push({only(node.parent), 0});
      return list;
    }
    /// The in-order tree turned so that `root` is on top.
    ALLFOLD_HOST_DEVICE constexpr tree_node rooted(int rank, int size) const {
      const tree_node image = in_order_tree(wrap(rank - root, size), size);
      const auto back = [=, this](int node) { return node < 0 ? -1 : (node + root) % size; };
      const tree_node it{back(image.parent), back(image.low), back(image.high)};
      return it.high >= 0 && it.high < it.low ? tree_node{it.parent, it.high, it.low} : it;
    }
  };

  /// Down one tree whose top is the root.
  struct broadcast {
    static constexpr collective kind = collective::broadcast;
    static constexpr std::string_view name = "tree";
    static constexpr std::size_t piece_bytes = 128 * 1024;
    int root = 0;

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int) const {
      if (rank == root)
        return step{}.from(only(root), buffer::input).to(only(root), buffer::output);
      const int parent = reduce{root}.rooted(rank, size).parent;
      return step{}
          .from(only(parent), buffer::output)
          .to(only(rank), buffer::output)
          .after(only(parent), 0);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int rank, int size) const {
      waits list;
      detail::push_children(list, reduce{root}.rooted(rank, size), 0);
      return list;
    }
  };
};

template <>
inline constexpr bool trusted<tree> = true;
template <>
inline constexpr bool trusted<tree::reduce> = true;
template <>
inline constexpr bool trusted<tree::broadcast> = true;

}  // namespace allfold

#ifdef ALLFOLD_PROVE
#include <allfold/schedule/proof.hpp>
static_assert(allfold::proven<allfold::tree>);
static_assert(allfold::proven<allfold::tree::reduce>);
static_assert(allfold::proven<allfold::tree::broadcast>);
#endif
