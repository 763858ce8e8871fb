// Where schedules would stand, if the ranks are on several nodes: one algorithm inside a node, and
// one across nodes.
#pragma once

#include <algorithm>
#include <allfold/schedule/automatic.hpp>
#include <allfold/schedule/fold_order.hpp>
#include <allfold/schedule/native.hpp>
#include <allfold/type_name.hpp>
#include <array>

namespace allfold {

/// In the place of an algorithm across nodes: every fold is the left fold over all ranks in rank
/// order, as if they were on one node and folded by `direct`, bit for bit. Node k goes on with what
/// node k − 1 has folded, so that a piece of a message takes as many hops as there are nodes;
/// 16-bit elements travel as float meanwhile.
struct in_rank_order {};

namespace detail {

/// "hierarchical<direct, ring>".
template <class Inside, class Across>
inline constexpr auto hierarchical_name = [] {
  constexpr std::string_view parts[] = {"hierarchical<", type_name<Inside>(), ", ",
                                        type_name<Across>(), ">"};
  constexpr std::size_t length = [&] {
    std::size_t sum = 0;
    for (const std::string_view each : parts) sum += each.size();
    return sum;
  }();
  std::array<char, length> text{};
  auto to = text.begin();
  for (const std::string_view each : parts) to = std::copy(each.begin(), each.end(), to);
  return text;
}();

/// Stands for a schedule where two levels have one each.
template <collective Kind, class Inside, class Across>
struct two_level_plan {
  static constexpr collective kind = Kind;
  static constexpr std::string_view name{hierarchical_name<Inside, Across>.data(),
                                         hierarchical_name<Inside, Across>.size()};
  using inside = Inside;
  using across = Across;
};
template <collective Kind, class Inside, class Across>
struct rooted_two_level_plan {
  static constexpr collective kind = Kind;
  static constexpr std::string_view name = two_level_plan<Kind, Inside, Across>::name;
  using inside = Inside;
  using across = Across;
  int root = 0;
};
template <class Inside, class Across>
struct two_level_exchange {
  static constexpr collective kind = collective::all_to_all;
  static constexpr std::string_view name = two_level_plan<kind, Inside, Across>::name;
  using inside = Inside;
  using across = Across;
  bool in_place = false;
};

/// Whether an algorithm has a schedule for a collective.
template <class Algorithm>
constexpr bool offers(collective kind) {
  switch (kind) {
    case collective::all_reduce:
      return Algorithm::kind == collective::all_reduce;
    case collective::reduce:
      return requires { typename Algorithm::reduce; };
    case collective::broadcast:
      return requires { typename Algorithm::broadcast; };
    case collective::reduce_scatter:
      return requires { typename Algorithm::reduce_scatter; };
    case collective::all_gather:
      return requires { typename Algorithm::all_gather; };
    case collective::scatter:
      return requires { typename Algorithm::scatter; };
    case collective::gather:
      return requires { typename Algorithm::gather; };
    case collective::all_to_all:
      return requires { typename Algorithm::all_to_all; };
    case collective::barrier:
      return requires { typename Algorithm::barrier; };
  }
  return false;
}

/// The schedule that a level takes: its algorithm's, or automatic's.
template <collective Kind, class Algorithm>
constexpr auto level_schedule(int root = 0) {
  using offering = std::conditional_t<offers<Algorithm>(Kind), Algorithm, automatic>;
  auto plan = schedule_of<Kind, offering>();
  if constexpr (requires { plan.root = root; }) plan.root = root;
  return plan;
}

/// True if each rank of a node folds a share of its own; else one rank folds for its node.
template <class Inside>
inline constexpr bool folds_in_lanes =
    offers<Inside>(collective::reduce_scatter) && offers<Inside>(collective::all_gather);

}  // namespace detail

/// The algorithm for ranks on several nodes; see nodes::communicator. `Inside` works inside each
/// node, `Across` between the ranks that have the same place on their nodes, all places at the same
/// time: an all-reduce is a reduce-scatter inside, an all-reduce of each rank's share across, and
/// an all-gather inside. Where a level's algorithm has no schedule for what it is asked for, it
/// takes `automatic`; an `Inside` without reduce_scatter folds on one rank of each node, which
/// speaks for it. Sanders and Träff, "The hierarchical factor algorithm for all-to-all
/// communication", 2002, and Jia and others, "Highly scalable deep learning training system with
/// mixed-precision", 2018, divide the work so.
///
/// The order of a fold: `Across`'s over the nodes' folds, each of which is `Inside`'s. So with
/// `direct` inside and what folds in rank order across: (node 0's ranks in rank order) + (node 1's
/// ranks in rank order) + …, where `in_rank_order` gives the bits of `direct` over all ranks.
template <class Inside = direct, class Across = automatic>
struct hierarchical : detail::two_level_plan<collective::all_reduce, Inside, Across> {
  static_assert(!std::is_same_v<Across, in_rank_order> || std::is_same_v<Inside, direct>,
                "allfold: in_rank_order goes on with the fold of the node before, which is done "
                "as `direct` does it: take hierarchical<direct, in_rank_order>");
  using reduce = detail::rooted_two_level_plan<collective::reduce, Inside, Across>;
  using broadcast = detail::rooted_two_level_plan<collective::broadcast, Inside, Across>;
  using reduce_scatter = detail::two_level_plan<collective::reduce_scatter, Inside, Across>;
  using all_gather = detail::two_level_plan<collective::all_gather, Inside, Across>;
  using scatter = detail::rooted_two_level_plan<collective::scatter, Inside, Across>;
  using gather = detail::rooted_two_level_plan<collective::gather, Inside, Across>;
  using all_to_all = detail::two_level_exchange<Inside, Across>;
  using barrier = detail::two_level_plan<collective::barrier, Inside, Across>;
};

/// The orders that `fold_order` gives for a fold in two levels. Where `across` has a contribution,
/// of a node, `inside` says what it holds of the node's ranks.
struct two_level_order {
  fold_values inside;
  fold_values across;
};

/// In which order `hierarchical` folds, on `nodes` nodes of `lanes` ranks each: lane l's share is
/// chunk l of `inside`, in the output of rank l, and is divided into the chunks of `across`.
/// `one_lane`: of a message so short that one rank speaks for each node; then rank 0's output holds
/// all of it.
template <class Inside, schedule Across>
constexpr two_level_order fold_order(const hierarchical<Inside, Across>&, int nodes, int lanes,
                                     bool one_lane = !detail::folds_in_lanes<Inside>) {
  using namespace detail;
  const fold_values across = fold_order(Across{}, nodes);
  if (one_lane) return {fold_order(level_schedule<collective::reduce, Inside>(), lanes), across};
  return {fold_order(level_schedule<collective::reduce_scatter, Inside>(), lanes), across};
}

namespace detail {

template <class Algorithm>
inline constexpr bool is_hierarchical = false;
template <class Inside, class Across>
inline constexpr bool is_hierarchical<hierarchical<Inside, Across>> = true;

/// What ranks on several nodes take for an algorithm that is not hierarchical itself: where it
/// folds in rank order, one that does so as well; `automatic` lets the levels choose.
template <class Algorithm>
struct two_level_algorithm {
  static_assert(is_hierarchical<Algorithm>,
                "allfold: these ranks are on several nodes; take hierarchical<…>, direct or "
                "automatic");
  using type = Algorithm;
};
template <>
struct two_level_algorithm<automatic> {
  using type = hierarchical<>;
};
template <>
struct two_level_algorithm<direct> {
  using type = hierarchical<direct, in_rank_order>;
};
template <int Root>
struct two_level_algorithm<primary<Root>> {
  using type = hierarchical<direct, in_rank_order>;
};

/// What ranks on nodes of devices take for an algorithm.
template <class Algorithm>
struct device_algorithm {
  static_assert(
      std::is_same_v<Algorithm, automatic>,
      "allfold: these ranks are on several nodes of devices, where what crosses is folded "
      "in the order of the engine; take hierarchical<…, native> or automatic");
  using type = hierarchical<>;
};
template <class Inside, class Across>
struct device_algorithm<hierarchical<Inside, Across>> {
  static_assert(!std::is_same_v<Across, in_rank_order>,
                "allfold: in_rank_order is for nodes whose elements lie in host memory; take "
                "hierarchical<…, native>");
  using type = hierarchical<Inside, Across>;
};

}  // namespace detail
}  // namespace allfold
