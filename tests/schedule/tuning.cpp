#include <allfold/schedule/tuning.hpp>

#include "schedules.hpp"

#include <doctest/doctest.h>

#include <string>
#include <type_traits>

namespace {

using namespace allfold;

struct table : direct_tuning {
  using all_reduce =
      rules<rule<tree, when{.ranks = 4, .from = 100, .to = 1000}>,
            rule<primary<2>, when{.ranks = 3, .crowded = true}>,
            rule<ring, when{.ranks = 2, .from = 5000}>, rule<direct, when{.ranks = 64}>>;
  using broadcast = rules<rule<ring, when{.from = 64}>, rule<direct>>;
  using barrier = rules<rule<dissemination>>;
};
using algorithm = tuned<table>;

template <bool Crowds = true>
std::string chosen(int ranks, std::size_t bytes, bool crowded = false) {
  std::string names;
  algorithm{}.decide<Crowds>(ranks, bytes, crowded, [&](const auto& plan) { names += plan.name; });
  return names;
}

}  // namespace

TEST_CASE("the first rule that applies is followed, and else the last") {
  CHECK(chosen(1, 10) == "direct");  // though its own case is another
  CHECK(chosen(2, 4999) == "direct");
  CHECK(chosen(2, 5000) == "ring");
  CHECK(chosen(4, 99) == "direct");
  CHECK(chosen(4, 100) == "tree");
  CHECK(chosen(9, 1000) == "tree");
  CHECK(chosen(4, 1001) == "direct");
  CHECK(chosen(3, 100, true) == "primary");
  CHECK(chosen(4, 100, true) == "tree");
  CHECK(chosen(2, 100, true) == "direct");
}

TEST_CASE("where ranks never outnumber cores, rules for that are passed over") {
  CHECK(chosen<false>(3, 100, true) == "direct");
  CHECK(chosen<false>(4, 100, true) == "tree");
}

TEST_CASE("what a schedule is told when it is made reaches the one that is taken") {
  int root = -1;
  algorithm::broadcast{.root = 5}.decide<false>(8, 64, false,
                                                [&](const auto& plan) { root = plan.root; });
  CHECK(root == 5);
  bool in_place = false;
  const auto note = [&](const auto& plan) {
    if constexpr (requires { plan.in_place; }) in_place = plan.in_place;
  };
  detail::choice<collective::all_to_all, rules<rule<direct>, rule<direct, when{.ranks = 2}>>>{
      .in_place = true}
      .decide<false>(8, 64, false, note);
  CHECK(in_place);
}

TEST_CASE("a table of one rule is its schedule") {
  CHECK(std::is_same_v<algorithm::reduce, direct::reduce>);
  CHECK(std::is_same_v<algorithm::barrier, dissemination::barrier>);
  CHECK(std::is_base_of_v<direct, tuned<direct_tuning>>);
  CHECK(detail::is_choice<algorithm>);
  CHECK(!detail::is_choice<tuned<direct_tuning>>);
  CHECK(!detail::is_choice<ring>);
}

namespace {

template <class Rules>
inline constexpr bool folds_in_rank_order = false;
template <class... Rules>
inline constexpr bool folds_in_rank_order<rules<Rules...>> = [] {
  bool all = true;
  for (int ranks = 1; ranks <= 8; ++ranks)
    all = all && (prove<typename Rules::algorithm>(ranks).rank_ordered && ...);
  return all;
}();

}  // namespace

TEST_CASE("automatic gives the same bits by whichever rule") {
  CHECK(folds_in_rank_order<default_tuning::all_reduce>);
  CHECK(!folds_in_rank_order<table::all_reduce>);
}
