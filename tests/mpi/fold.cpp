// Every folding collective over MPI, against a serial fold, bit for bit: elements and operations
// whose result does not depend on how MPI groups the ranks.
#include <allfold/half.hpp>
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/native.hpp>

#include <doctest/doctest.h>

#include <cstdint>

#include "support/folding.hpp"

namespace {

using allfold::native;

using test::detail::call_all_reduce;
using test::detail::call_reduce;
using test::detail::call_reduce_scatter;
using test::detail::plan_evenly;

/// A fold by MPI, to be compared with a fold in rank order.
template <class T, class Operation>
test::folding by_mpi(std::string_view collective, decltype(test::folding::call) call,
                     decltype(test::folding::plan) plan) {
  test::folding it = test::detail::made<T, Operation>(collective, "native");
  it.call = call;
  it.plan = plan;
  return it;
}

template <class T, class Operation>
void try_folds(test::failures& list) {
  using allfold::direct;
  const auto all_reduce = by_mpi<T, Operation>("all_reduce", &call_all_reduce<native, T, Operation>,
                                               &plan_evenly<direct>);
  const auto reduce = by_mpi<T, Operation>("reduce", &call_reduce<native, T, Operation>,
                                           &plan_evenly<direct::reduce>);
  const auto reduce_scatter =
      by_mpi<T, Operation>("reduce_scatter", &call_reduce_scatter<native, T, Operation>,
                           &test::detail::plan_shares<direct::reduce_scatter>);
  const int ranks = test::processes();
  test::random_bits random{sizeof(T)};
  std::vector<test::job> jobs[3];  // in one call of MPI, in pieces, without comparing
  std::size_t turn = 0;
  const auto next = [&]() -> std::vector<test::job>& { return jobs[turn++ % 3]; };
  for (const bool in_place : {false, true}) {
    for (const std::size_t count : test::awkward_counts(ranks, *all_reduce.kind))
      next().push_back(all_reduce_job(all_reduce, ranks, count, in_place, random));
    for (int root = 0; root < ranks; ++root)
      for (const std::size_t count : {0u, 17u, 340u})
        next().push_back(reduce_job(reduce, ranks, count, root, in_place, random));
    for (const std::size_t share : test::awkward_shares(ranks, *all_reduce.kind))
      next().push_back(reduce_scatter_job(reduce_scatter, ranks, share, in_place, random));
  }
  for (const auto& each : jobs) carry_out(each, ranks, list);
}
template <class Operation, class Types>
void try_folds_of(Types elements) {
  test::failures list;
  test::for_each(elements,
                 [&](auto element) { try_folds<typename decltype(element)::of, Operation>(list); });
  CHECK_NONE(list);
}

using integers = test::types<std::int8_t, std::uint16_t, int, unsigned long>;

}  // namespace

TEST_CASE("integers") {
  static_assert(allfold::mpi::is_built_in<int, allfold::sum>);
  try_folds_of<allfold::sum>(integers{});
  try_folds_of<allfold::maximum>(integers{});
  try_folds_of<allfold::minimum>(test::types<unsigned char, long long>{});
  try_folds_of<allfold::product>(test::types<short, unsigned>{});
  try_folds_of<allfold::average>(test::types<char, long>{});
}

TEST_CASE("extremes of floating-point numbers are the same on all ranks") {
  try_folds_of<allfold::minimum>(test::types<float, allfold::half>{});
  try_folds_of<allfold::maximum>(test::types<double>{});
}

TEST_CASE("elements of users, aligned to more than MPI aligns") {
  try_folds_of<allfold::sum>(test::types<bool, test::pack3, test::pack72>{});
  try_folds_of<allfold::average>(test::types<test::pack3>{});
  try_folds_of<allfold::maximum>(test::types<test::pack12, test::aligned32>{});
}

TEST_CASE("operations of users, in rank order") {
  static_assert(!allfold::mpi::commutes<test::ends, test::join_ends>);
  try_folds_of<std::plus<>>(test::types<int>{});
  try_folds_of<test::last_wins>(test::types<float>{});
  try_folds_of<test::join_ends>(test::types<test::ends>{});
  try_folds_of<test::multiply_matrices>(test::types<test::matrix>{});
  if (test::processes() > 1) try_folds_of<test::sum_doubled>(test::types<std::uint16_t>{});
}
