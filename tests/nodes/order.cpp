// hierarchical folds in the order that it declares: inside each node by one algorithm, then across.
#include <allfold/half.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

using namespace allfold;
using test::bytes;
using test::job;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

template <class T>
std::vector<T> elements_of(const bytes& it) {
  std::vector<T> all(it.size() / sizeof(T));
  std::memcpy(all.data(), it.data(), it.size());
  return all;
}

/// All ranks' contributions, and the folds of them as two levels make them.
template <class Inside, class Across, class T, class Operation>
class reference {
 public:
  reference(test::shape shape, const job& it) : shape_{shape} {
    for (const test::memory& each : it.ranks) inputs_.push_back(elements_of<T>(each.input));
  }

  std::vector<T> all_reduce(std::size_t count) const {
    if (shape_.nodes == 1) return flat<Inside>(inputs_);
    if (shape_.lanes == 1) return flat<Across>(inputs_);
    const bool shared =
        detail::folds_in_lanes<Inside> && count * sizeof(T) > test::fine_cut.one_lane_bytes;
    const std::size_t senders = shared ? at(shape_.lanes) : 1;
    const std::size_t piece = test::fine_cut.piece_bytes * senders;
    const std::size_t pieces = std::max<std::size_t>(1, (count * sizeof(T) + piece - 1) / piece);
    const partition parts{count, shape_.lanes, static_cast<int>(pieces),
                          sizeof(T) >= 64 ? 1 : 64 / sizeof(T)};
    std::vector<T> result(count);
    for (int number = 0; number < parts.pieces(); ++number)
      for (int lane = 0; lane < (shared ? shape_.lanes : 1); ++lane)
        fold_part(parts.of(lane, shared ? 1 : shape_.lanes, number), lane, result);
    return result;
  }

 private:
  /// What all levels fold with but at the end.
  using partial = decltype(detail::without_finish<T>(Operation{}));

  void fold_part(extent part, int lane, std::vector<T>& result) const {
    const bool one_lane = !detail::folds_in_lanes<Inside> ||
                          result.size() * sizeof(T) <= test::fine_cut.one_lane_bytes;
    const two_level_order declared =
        fold_order(hierarchical<Inside, Across>{}, shape_.nodes, shape_.lanes, one_lane);
    std::vector<std::vector<T>> nodes;
    for (int node = 0; node < shape_.nodes; ++node)
      nodes.push_back(of_node(declared.inside, part, node, lane, one_lane));
    const std::vector<T> all = flat<Across, partial>(nodes);
    const Operation operation{};
    for (std::size_t i = 0; i < part.count; ++i) {
      accumulator<T> value = static_cast<accumulator<T>>(all[i]);
      if constexpr (requires { operation.finish(value, 1); })
        value = operation.finish(value, shape_.nodes * shape_.lanes);
      result[part.begin + i] = static_cast<T>(value);
    }
  }
  /// What lane `lane` of a node folds of its node's ranks.
  std::vector<T> of_node(const fold_values& order, extent part, int node, int lane,
                         bool one_lane) const {
    std::vector<const T*> inputs;
    for (int rank = 0; rank < shape_.lanes; ++rank)
      inputs.push_back(inputs_[at(node * shape_.lanes + rank)].data());
    const test::fold_plan plan{shape_.lanes, order, {}, {}};
    // One lane: the reduce may have chunks, all folded alike, or be one of few algorithms.
    const int chunk = one_lane ? 0 : lane;
    const int value = order.at(lane, buffer::output, chunk, 0);
    std::vector<T> folded;
    for (std::size_t i = part.begin; i < part.begin + part.count; ++i)
      folded.push_back(test::evaluated<T>(plan, value, chunk, inputs, i, partial{}));
    return folded;
  }
  template <class Algorithm, class By = Operation>
  static std::vector<T> flat(const std::vector<std::vector<T>>& contributions) {
    std::vector<const T*> inputs;
    for (const auto& each : contributions) inputs.push_back(each.data());
    const std::size_t count = contributions[0].size();
    const auto plan = test::even_plan<test::threads>(Algorithm{}, static_cast<int>(inputs.size()),
                                                     count, test::kind_of_element<T>);
    return elements_of<T>(test::folded<T, By>(plan, 0, inputs, bytes(count * sizeof(T))));
  }

  test::shape shape_;
  std::vector<std::vector<T>> inputs_;
};

/// All-reduces of awkward counts in every shape up to 3 x 3.
template <class Inside, class Across, class T, class Operation>
void try_order(test::failures& list) {
  test::folding what = test::detail::made<T, Operation>("all_reduce", "hierarchical");
  what.call = &test::detail::call_all_reduce<hierarchical<Inside, Across>, T, Operation>;
  test::random_bits random{3};
  for (int nodes = 1; nodes <= 3; ++nodes)
    for (int lanes = 1; lanes <= 3; ++lanes) {
      test::current_shape = {nodes, lanes};
      const int ranks = nodes * lanes;
      if (ranks < what.least_ranks || ranks > test::most_ranks) continue;
      std::vector<job> jobs;
      std::vector<std::size_t> counts = test::awkward_counts(ranks, *what.kind);
      counts.push_back(4001);  // pieces
      for (const std::size_t count : counts)
        for (const bool in_place : {false, true}) {
          job& it =
              jobs.emplace_back(test::detail::begun(what, ranks, count, count, in_place, random));
          it.count = count;
          const std::vector<T> expected =
              reference<Inside, Across, T, Operation>{{nodes, lanes}, it}.all_reduce(count);
          bytes after(count * sizeof(T));
          std::memcpy(after.data(), expected.data(), after.size());
          for (test::memory& each : it.ranks)
            (in_place ? each.input_after : each.output_after) = after;
        }
      carry_out(jobs, ranks, list);
    }
  test::current_shape.reset();
}

template <class Inside, class Across>
void try_types(test::failures& list) {
  try_order<Inside, Across, float, sum>(list);
  try_order<Inside, Across, bfloat16, average>(list);
  try_order<Inside, Across, test::pack24, sum>(list);
}

}  // namespace

TEST_CASE_TEMPLATE("all algorithms across, direct inside", across, direct, ring, tree,
                   halving_doubling, primary<>) {
  test::failures list;
  try_types<direct, across>(list);
  CHECK_NONE(list);
}
TEST_CASE_TEMPLATE("all algorithms inside, direct across", inside, ring, tree, primary<>) {
  test::failures list;
  try_types<inside, direct>(list);
  CHECK_NONE(list);
}
TEST_CASE("ring and ring, tree and tree") {
  test::failures list;
  try_types<ring, ring>(list);
  try_types<tree, tree>(list);
  CHECK_NONE(list);
}
TEST_CASE("operations and types") {
  test::failures list;
  try_order<direct, direct, int, average>(list);
  try_order<direct, direct, float, average>(list);
  try_order<direct, direct, float, maximum>(list);
  try_order<direct, direct, double, product>(list);
  try_order<direct, direct, allfold::half, test::sum_doubled>(list);
  try_order<direct, direct, test::ends, test::join_ends>(list);
  try_order<direct, direct, test::matrix, test::multiply_matrices>(list);
  CHECK_NONE(list);
}
TEST_CASE("the order is node by node, not that of a single node") {
  const two_level_order order = fold_order(hierarchical<direct, direct>{}, 2, 3);
  const auto folded_from = [](const fold_values& values, int rank, int chunk) {
    const fold_values::value& it = values[values.at(rank, buffer::output, chunk, 0)];
    std::vector<int> ranks;
    for (int i = 0; i < it.count; ++i) ranks.push_back(values[values.operand_of(it, i)].rank);
    return ranks;
  };
  for (int lane = 0; lane < 3; ++lane)
    CHECK(folded_from(order.inside, lane, lane) == std::vector<int>{0, 1, 2});
  CHECK(folded_from(order.across, 0, 0) == std::vector<int>{0, 1});
}
