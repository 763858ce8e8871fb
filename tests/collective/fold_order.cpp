// The order of folds, told apart by operations that don't commute, or that round.
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

/// All ranks' elements folded from left to right in rank order, without asking any schedule.
template <class T, class Operation>
test::bytes in_rank_order(const test::job& it) {
  test::bytes result = it.ranks.front().input;
  for (std::size_t i = 0; i < it.count; ++i) {
    T folded{};
    for (std::size_t rank = 0; rank < it.ranks.size(); ++rank) {
      T next;
      std::memcpy(&next, it.ranks[rank].input.data() + i * sizeof(T), sizeof(T));
      folded = rank == 0 ? next : Operation{}(folded, next);
    }
    std::memcpy(result.data() + i * sizeof(T), &folded, sizeof(T));
  }
  return result;
}

/// All-reduces whose results are expected in rank order.
template <class Algorithm, class T, class Operation>
void try_rank_order(test::failures& list) {
  const auto what = test::all_reduce_by<Algorithm, T, Operation>();
  test::random_bits random{1};
  for (int ranks = 1; ranks <= test::most_ranks; ++ranks) {
    std::vector<test::job> jobs;
    for (const std::size_t count : {1u, 37u, 1009u})
      for (const bool in_place : {false, true}) {
        test::job& it =
            jobs.emplace_back(test::all_reduce_job(what, ranks, count, in_place, random));
        const test::bytes expected = in_rank_order<T, Operation>(it);
        for (test::memory& each : it.ranks)
          (in_place ? each.input_after : each.output_after) = expected;
      }
    carry_out(jobs, ranks, list);
  }
}

/// How many of `count` random floats two algorithms' references give different bits for.
template <class One, class Other>
std::size_t differences(int ranks, std::size_t count) {
  const auto reference = []<class Algorithm>(test::type<Algorithm>, int size, std::size_t n) {
    test::random_bits random{7};
    const auto what = test::all_reduce_by<Algorithm, float, allfold::sum>();
    return test::all_reduce_job(what, size, n, false, random).ranks.back().output_after;
  };
  const test::bytes one = reference(test::type<One>{}, ranks, count);
  const test::bytes other = reference(test::type<Other>{}, ranks, count);
  std::size_t found = 0;
  for (std::size_t i = 0; i < one.size(); i += sizeof(float))
    found += std::memcmp(one.data() + i, other.data() + i, sizeof(float)) != 0;
  return found;
}

/// A sum modulo a number known only while the program runs.
struct sum_modulo {
  unsigned modulus;
  unsigned operator()(unsigned a, unsigned b) const { return (a + b) % modulus; }
};

/// Ends with something that is not the total on one rank either.
template <class T>
bool finishes_alone() {
  std::vector<T> data{static_cast<T>(3)}, result(1), part(1);
  allfold::spawn(1, [&](test::world& alone) {
    allfold::all_reduce<allfold::ring>(alone, std::span<const T>{data}, std::span<T>{result},
                                       test::sum_doubled{});
    allfold::reduce_scatter(alone, data, part, test::sum_doubled{});
    allfold::reduce<allfold::tree>(alone, data, 0, test::sum_doubled{});
  });
  const auto is_six = [](T it) { return static_cast<float>(it) == 6.0f; };
  return is_six(data[0]) && is_six(result[0]) && is_six(part[0]);
}

}  // namespace

TEST_CASE("the reference is hand-made arithmetic") {
  const std::vector<std::vector<float>> data{{0x1p24f, 1}, {1, 2}, {1, 4}, {-0x1p24f, 8}};
  std::vector<const float*> inputs;
  for (const auto& each : data) inputs.push_back(each.data());
  const auto result = [&](const test::fold_plan& plan, int rank, auto operation) {
    const test::bytes before(2 * sizeof(float));
    const test::bytes all = test::folded<float, decltype(operation)>(plan, rank, inputs, before);
    std::vector<float> values(2);
    std::memcpy(values.data(), all.data(), all.size());
    return values;
  };
  using values = std::vector<float>;
  const auto primary = test::plan_of(allfold::primary<>{}, 4, allfold::partition{2, 1, 1, 1});
  // ((2^24 + 1) + 1) - 2^24: both ones are lost.
  CHECK(result(primary, 3, allfold::sum{}) == values{0, 15});
  CHECK(result(primary, 3, allfold::average{}) == values{0, 3.75f});
  CHECK(result(primary, 0, test::twice_and{}) == values{7 * 0x1p24f, 32});
  // halving_doubling: (2^24 + 1) + (1 - 2^24): the first one is lost, and 1 - 2^24 is exact.
  const auto halves = test::plan_of(allfold::halving_doubling{}, 4, allfold::partition{2, 4, 1, 1});
  CHECK(result(halves, 2, allfold::sum{}) == values{1, 15});
  // Chunk 1 of 2 in a ring of 4 starts at rank 2: ((4 2 + 8) 2 + 1) 2 + 2.
  const auto around = test::plan_of(allfold::ring{}, 4, allfold::partition{2, 4, 1, 1});
  CHECK(result(around, 1, test::twice_and{})[1] == 68);
}

TEST_CASE("the references of different orders differ") {
  for (const int ranks : {3, 4, 5, 8, 9}) {
    CAPTURE(ranks);
    CHECK(differences<allfold::direct, allfold::primary<>>(ranks, 4000) == 0);
    CHECK(differences<allfold::direct, allfold::ring>(ranks, 4000) > 300);
    CHECK(differences<allfold::direct, allfold::tree>(ranks, 4000) > 300);
    CHECK(differences<allfold::ring, allfold::tree>(ranks, 4000) > 300);
  }
  CHECK(differences<allfold::direct, allfold::halving_doubling>(8, 4000) > 300);
}

TEST_CASE_TEMPLATE("results are in rank order, whatever the operation", algorithm, allfold::direct,
                   allfold::primary<0>) {
  test::failures list;
  try_rank_order<algorithm, float, allfold::sum>(list);
  try_rank_order<algorithm, double, allfold::product>(list);
  try_rank_order<algorithm, unsigned, test::twice_and>(list);
  try_rank_order<algorithm, test::ends, test::join_ends>(list);
  try_rank_order<algorithm, test::matrix, test::multiply_matrices>(list);
  CHECK_NONE(list);
}

TEST_CASE("halving_doubling keeps rank order if the operation associates") {
  test::failures list;
  try_rank_order<allfold::halving_doubling, test::ends, test::join_ends>(list);
  try_rank_order<allfold::halving_doubling, test::matrix, test::multiply_matrices>(list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("ring and tree fold in their declared order also what does not commute",
                   algorithm, allfold::ring, allfold::tree) {
  test::failures list;
  test::try_all_reduce(test::all_reduce_by<algorithm, test::matrix, test::multiply_matrices>(),
                       list);
  test::try_all_reduce(test::all_reduce_by<algorithm, test::ends, test::join_ends>(), list);
  CHECK_NONE(list);
}

TEST_CASE("an operation may have a state") {
  test::failures list;
  for (const unsigned modulus : {7u, 1000u})
    allfold::spawn(4, [&](test::world& ranks) {
      std::vector<unsigned> data(300, static_cast<unsigned>(ranks.rank()) + 5);
      allfold::all_reduce<allfold::ring>(ranks, data, sum_modulo{modulus});
      if (data != std::vector<unsigned>(300, (5u + 6 + 7 + 8) % modulus))
        list.add("modulo " + std::to_string(modulus) + ": " + std::to_string(data[0]));
    });
  CHECK_NONE(list);
}

TEST_CASE("a single rank's fold is finished as well") {
  CHECK(finishes_alone<int>());
  CHECK(finishes_alone<double>());
  CHECK(finishes_alone<allfold::half>());
}
