#include <allfold/schedule/fold_order.hpp>

#include "schedules.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

namespace {

using namespace allfold;

/// "((1 2) 0)": what contributions a value was folded from, and how. All are of `chunk`.
std::string text(const fold_values& memory, int value, int chunk) {
  if (value == fold_values::undefined) return "nothing";
  const fold_values::value& it = memory[value];
  if (it.rank >= 0)
    return it.chunk == chunk ? std::to_string(it.rank) : "chunk " + std::to_string(it.chunk);
  std::string all = "(";
  for (int i = 0; i < it.count; ++i)
    all += (i > 0 ? " " : "") + text(memory, memory.operand_of(it, i), chunk);
  return all + ")";
}
std::string text_at(const fold_values& memory, int rank, int chunk) {
  return text(memory, memory.at(rank, buffer::output, chunk, 0), chunk);
}

/// The ranks that contributed to a value, in the order folded.
void contributors(const fold_values& memory, int value, std::vector<int>& list) {
  REQUIRE(value != fold_values::undefined);
  const fold_values::value& it = memory[value];
  if (it.rank >= 0) list.push_back(it.rank);
  for (int i = 0; i < it.count; ++i) contributors(memory, memory.operand_of(it, i), list);
}
std::vector<int> contributors_at(const fold_values& memory, int rank, int chunk) {
  std::vector<int> list;
  contributors(memory, memory.at(rank, buffer::output, chunk, 0), list);
  return list;
}

std::vector<int> rank_order(int size) {
  std::vector<int> list(static_cast<std::size_t>(size));
  std::iota(list.begin(), list.end(), 0);
  return list;
}

/// "(((first first+1) first+2) …)", all ranks modulo `size`.
std::string chain_from(int first, int size) {
  std::string all = std::to_string(first % size);
  for (int i = 1; i < size; ++i) all = "(" + all + " " + std::to_string((first + i) % size) + ")";
  return size == 1 ? "(" + all + ")" : all;
}
/// "(0 1 2 …)".
std::string one_fold(int size) {
  std::string all = "(0";
  for (int i = 1; i < size; ++i) all += " " + std::to_string(i);
  return all + ")";
}

/// A value and whether it is the same, by its number, on all ranks.
bool is_shared(const fold_values& memory, int size, int chunk) {
  for (int rank = 1; rank < size; ++rank)
    if (memory.at(rank, buffer::output, chunk, 0) != memory.at(0, buffer::output, chunk, 0))
      return false;
  return true;
}

}  // namespace

TEST_CASE_TEMPLATE("all ranks end with the same values", Schedule, direct, ring, tree,
                   halving_doubling, primary<0>) {
  for (int size = 1; size <= 33; ++size) {
    INFO(title<Schedule>(size));
    const Schedule plan;
    const fold_values memory = fold_order(plan, size);
    for (int chunk = 0; chunk < plan.chunks(size); ++chunk) {
      CHECK(is_shared(memory, size, chunk));
      CHECK(memory[memory.at(0, buffer::output, chunk, 0)].complete);
      std::vector<int> folded = contributors_at(memory, 0, chunk);
      std::sort(folded.begin(), folded.end());
      CHECK(folded == rank_order(size));  // each contribution once
    }
  }
}

TEST_CASE("ring folds chunk c in the order c+1, c+2, ..., c") {
  for (int size = 1; size <= 17; ++size) {
    INFO(size, " ranks");
    const fold_values all = fold_order(ring{}, size);
    const fold_values scattered = fold_order(ring::reduce_scatter{}, size);
    for (int chunk = 0; chunk < size; ++chunk) {
      CHECK(text_at(all, 0, chunk) == chain_from(chunk + 1, size));
      CHECK(text_at(scattered, chunk, chunk) == chain_from(chunk + 1, size));
    }
    for (int root = 0; root < size; ++root)
      CHECK(text_at(fold_order(ring::reduce{root}, size), root, 0) == chain_from(root + 1, size));
  }
  CHECK(text_at(fold_order(ring{}, 4), 2, 1) == "(((2 3) 0) 1)");
}

TEST_CASE("direct and primary fold all ranks at once, in rank order") {
  for (int size = 1; size <= 17; ++size) {
    INFO(size, " ranks");
    const std::string expected = one_fold(size);
    const fold_values all = fold_order(direct{}, size);
    const fold_values scattered = fold_order(direct::reduce_scatter{}, size);
    for (int chunk = 0; chunk < size; ++chunk) {
      CHECK(text_at(all, 0, chunk) == expected);
      CHECK(text_at(scattered, chunk, chunk) == expected);
      CHECK(text_at(fold_order(direct::reduce{size - 1}, size), size - 1, chunk) == expected);
    }
    const fold_values shot = fold_order(one_shot{}, size);
    for (int rank = 0; rank < size; ++rank) CHECK(text_at(shot, rank, 0) == expected);
    CHECK(text_at(fold_order(primary<0>{}, size), size - 1, 0) == expected);
    CHECK(text_at(fold_order(primary<0>::reduce{size - 1}, size), size - 1, 0) == expected);
  }
}

TEST_CASE("halving_doubling pairs neighbours, so that contributions stay in rank order") {
  for (int size = 1; size <= 33; ++size) {
    INFO(size, " ranks");
    const halving_doubling plan;
    const fold_values memory = fold_order(plan, size);
    for (int chunk = 0; chunk < plan.chunks(size); ++chunk) {
      CHECK(contributors_at(memory, 0, chunk) == rank_order(size));
      CHECK(text_at(memory, 0, chunk) == text_at(memory, 0, 0));
    }
  }
  CHECK(text_at(fold_order(halving_doubling{}, 2), 0, 1) == "(0 1)");
  CHECK(text_at(fold_order(halving_doubling{}, 4), 0, 3) == "((0 1) (2 3))");
  CHECK(text_at(fold_order(halving_doubling{}, 8), 5, 6) == "(((0 1) (2 3)) ((4 5) (6 7)))");
  // Over 6 ranks the first four pair up, and two of the four that work are such pairs.
  CHECK(text_at(fold_order(halving_doubling{}, 6), 1, 2) == "(((0 1) (2 3)) (4 5))");
}

TEST_CASE("tree folds in rank order down its first tree, and down its second over an even size") {
  for (int size = 1; size <= 33; ++size) {
    INFO(size, " ranks");
    const fold_values memory = fold_order(tree{}, size);
    CHECK(contributors_at(memory, 0, 0) == rank_order(size));
    if (size % 2 == 0) CHECK(contributors_at(memory, 0, 1) == rank_order(size));
    CHECK(contributors_at(fold_order(tree::reduce{}, size), 0, 0) == rank_order(size));
  }
  const fold_values of_eight = fold_order(tree{}, 8);
  CHECK(text_at(of_eight, 0, 0) == "(0 ((1 2 3) 4 (5 6 7)))");
  CHECK(text_at(of_eight, 0, 1) == "(((0 1 2) 3 (4 5 6)) 7)");
  const fold_values of_five = fold_order(tree{}, 5);
  CHECK(text_at(of_five, 0, 0) == "(0 ((1 2 3) 4))");
  CHECK(text_at(of_five, 0, 1) == "((0 (2 3 4)) 1)");
}

TEST_CASE("what is not folded is copied from where the collective says") {
  for (int size = 1; size <= 9; ++size)
    for (int rank = 0; rank < size; ++rank)
      for (int other = 0; other < size; ++other) {
        INFO(size, " ranks, rank ", rank, ", chunk or root ", other);
        const auto holds = [&](const fold_values& memory, int chunk) {
          return memory[memory.at(rank, buffer::output, chunk, 0)];
        };
        const auto check = [](const fold_values::value& it, int from, int chunk) {
          CHECK(it.rank == from);
          CHECK(it.chunk == chunk);
        };
        check(holds(fold_order(direct::broadcast{other}, size), 0), other, 0);
        check(holds(fold_order(ring::broadcast{other}, size), 0), other, 0);
        check(holds(fold_order(tree::broadcast{other}, size), 0), other, 0);
        check(holds(fold_order(direct::scatter{other}, size), rank), other, rank);
        check(holds(fold_order(direct::all_gather{}, size), other), other, other);
        check(holds(fold_order(ring::all_gather{}, size), other), other, other);
        check(holds(fold_order(direct::all_to_all{}, size), other), other, rank);
        check(holds(fold_order(direct::all_to_all{true}, size), other), other, rank);
        if (rank == 0) check(holds(fold_order(direct::gather{}, size), other), other, other);
      }
}

TEST_CASE("fold_values: a copy shares its number, a fold gets a new one") {
  fold_values memory{2, 2, 1, false};
  memory.contribute(0, buffer::input, 1, 0);
  memory.contribute(1, buffer::input, 1, 0);
  const int own = memory.at(0, buffer::input, 1, 0);
  CHECK(memory[own].rank == 0);
  CHECK(memory[own].chunk == 1);
  CHECK(memory.at(0, buffer::input, 0, 0) == fold_values::undefined);

  const auto copy = step{0}.from(only(0), buffer::input, 1).to(every(2), buffer::output);
  CHECK(memory.apply(copy, 0));
  CHECK(memory.at(0, buffer::output, 0, 0) == own);
  CHECK(memory.at(1, buffer::output, 0, 0) == own);

  const auto fold = step{1}.from(every(2), buffer::input).to(only(1), buffer::slot);
  CHECK(memory.apply(fold, 0));
  const int folded = memory.at(1, buffer::slot, 1, 0);
  CHECK(memory[folded].count == 2);
  CHECK(!memory[folded].complete);
  CHECK(memory.operand_of(memory[folded], 0) == own);
  CHECK(memory.operand_of(memory[folded], 1) == memory.at(1, buffer::input, 1, 0));

  const auto whole = step{1}.from(only(0), buffer::input).to(only(0), buffer::output).complete();
  CHECK(memory.apply(whole, 0));  // counts as a fold of one
  CHECK(memory.at(0, buffer::output, 1, 0) != own);
  CHECK(memory[memory.at(0, buffer::output, 1, 0)].complete);
}

TEST_CASE("fold_values: what holds nothing can't be read") {
  fold_values memory{2, 1, 2, false};
  memory.contribute(0, buffer::input, 0, 0);
  CHECK(memory.apply(step{}.from(only(0), buffer::input).to(only(1), buffer::scratch), 0));
  CHECK(!memory.apply(step{}.from(only(0), buffer::input).to(only(1), buffer::scratch), 1));
  CHECK(!memory.apply(step{}.from(every(2), buffer::input).to(only(1), buffer::output), 0));
  CHECK(memory.apply(step{}.after(only(0), entered), 0));  // reads nothing
}

TEST_CASE("fold_values: in place the output is the input, and nothing else is shared") {
  for (const bool in_place : {false, true}) {
    const fold_values memory{3, 2, 2, in_place};
    std::vector<std::size_t> cells;
    for (int rank = 0; rank < 3; ++rank)
      for (const buffer where : {buffer::input, buffer::output, buffer::slot, buffer::scratch})
        for (int chunk = 0; chunk < 2; ++chunk)
          for (int piece = 0; piece < 2; ++piece)
            cells.push_back(memory.cell(rank, where, chunk, piece));
    for (const std::size_t cell : cells) CHECK(cell < memory.cells());
    std::sort(cells.begin(), cells.end());
    const auto different = std::unique(cells.begin(), cells.end()) - cells.begin();
    CHECK(different == (in_place ? 36 : 48));
    CHECK((memory.cell(1, buffer::output, 1, 0) == memory.cell(1, buffer::input, 1, 0)) ==
          in_place);
  }
}

TEST_CASE("what ranks bring, and what they are promised") {
  using enum collective;
  const auto promise = [](collective kind, int rank, int chunk) {
    const expectation it = expected(kind, 1, rank, chunk);
    if (!it.anything) return std::string{"anything"};
    return (it.everyone ? "fold of chunk " : "rank " + std::to_string(it.rank) + "'s chunk ") +
           std::to_string(it.chunk);
  };
  // Rank 2, chunk 0, root 1.
  CHECK(promise(all_reduce, 2, 0) == "fold of chunk 0");
  CHECK(promise(reduce, 2, 0) == "anything");
  CHECK(promise(reduce, 1, 0) == "fold of chunk 0");
  CHECK(promise(broadcast, 2, 0) == "rank 1's chunk 0");
  CHECK(promise(reduce_scatter, 2, 0) == "anything");
  CHECK(promise(reduce_scatter, 2, 2) == "fold of chunk 2");
  CHECK(promise(all_gather, 2, 0) == "rank 0's chunk 0");
  CHECK(promise(scatter, 2, 0) == "anything");
  CHECK(promise(scatter, 2, 2) == "rank 1's chunk 2");
  CHECK(promise(gather, 2, 0) == "anything");
  CHECK(promise(gather, 1, 0) == "rank 0's chunk 0");
  CHECK(promise(all_to_all, 2, 0) == "rank 0's chunk 2");
  CHECK(promise(barrier, 2, 0) == "anything");

  for (const collective kind : {all_reduce, reduce, reduce_scatter, all_to_all})
    CHECK(contributes(kind, 1, 2, 0));
  for (const collective kind : {broadcast, scatter}) {
    CHECK(contributes(kind, 1, 1, 0));
    CHECK(!contributes(kind, 1, 2, 0));
  }
  for (const collective kind : {all_gather, gather}) {
    CHECK(contributes(kind, 1, 2, 2));
    CHECK(!contributes(kind, 1, 2, 0));
  }
  CHECK(!contributes(barrier, 1, 1, 1));
}
