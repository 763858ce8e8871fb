// Messages of several pieces: every folding collective against a serial fold, bit for bit.
#include <allfold/schedule/automatic.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "support/folding.hpp"

namespace {

/// An algorithm whose pieces are so short that a few hundred elements make many.
template <class Algorithm>
struct fine : Algorithm {
  static constexpr std::size_t piece_bytes = 256;

  struct reduce {
    static constexpr allfold::collective kind = allfold::collective::reduce;
    static constexpr std::string_view name = Algorithm::reduce::name;
    static constexpr std::size_t piece_bytes = 256;
    int root = 0;

    constexpr int chunks(int size) const { return inner().chunks(size); }
    constexpr int steps(int size) const { return inner().steps(size); }
    constexpr int scratch_chunks(int size) const { return inner().scratch_chunks(size); }
    constexpr allfold::step at(int rank, int size, int index) const {
      return inner().at(rank, size, index);
    }
    constexpr allfold::waits exit(int rank, int size) const { return inner().exit(rank, size); }

   private:
    constexpr typename Algorithm::reduce inner() const { return {.root = root}; }
  };
};

}  // namespace

// The same steps as those of the algorithms within.
template <class Algorithm>
inline constexpr bool allfold::trusted<fine<Algorithm>> = true;
template <>
inline constexpr bool allfold::trusted<fine<allfold::ring>::reduce> = true;
template <>
inline constexpr bool allfold::trusted<fine<allfold::tree>::reduce> = true;

namespace {

#if defined(ALLFOLD_TEST_EVERY_TYPE) && !ALLFOLD_TEST_EVERY_TYPE
using elements = test::types<test::pack24>;
constexpr int rank_counts[] = {2, 3};
#else
using elements = test::types<float, allfold::bfloat16, test::pack24>;
constexpr int rank_counts[] = {1, 2, 3, 5};
#endif
constexpr std::size_t piece_bytes = 128 * 1024;

/// About two and a half pieces of a schedule of so many chunks, and an odd number of elements.
std::size_t count_of(int chunks, std::size_t size) {
  return (5 * piece_bytes * static_cast<std::size_t>(chunks) / 2 / size) | 1u;
}

}  // namespace

TEST_CASE("count_of makes several pieces") {
  for (const int ranks : rank_counts) {
    CHECK(allfold::pieces_for(allfold::ring{}, ranks, 4 * count_of(ranks, 4)) == 3);
    CHECK(allfold::pieces_for(allfold::tree{}, ranks, 4 * count_of(2, 4)) == 3);
    CHECK(allfold::pieces_for(allfold::ring::reduce{}, ranks, 4 * count_of(1, 4)) == 3);
    CHECK(allfold::pieces_for(allfold::tree::reduce{}, ranks, 4 * count_of(1, 4)) == 3);
  }
  CHECK(allfold::pieces_for(fine<allfold::ring>{}, 9, 4036) == 2);
  CHECK(allfold::pieces_for(fine<allfold::ring>::reduce{}, 9, 4036) == 16);
}

TEST_CASE_TEMPLATE("all_reduce in many short pieces", algorithm, allfold::ring, allfold::tree) {
  test::failures list;
  test::try_all_reduce_of<fine<algorithm>, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("reduce in many short pieces", algorithm, allfold::ring, allfold::tree) {
  test::failures list;
  test::try_reduce_of<fine<algorithm>, allfold::sum>(elements{}, list);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("a long all_reduce", algorithm, allfold::automatic, allfold::direct,
                   allfold::ring, allfold::tree, allfold::halving_doubling, allfold::primary<>) {
  test::failures list;
  test::random_bits random{2};
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    const auto what = test::all_reduce_by<algorithm, T, allfold::sum>();
    for (const int ranks : rank_counts) {
      constexpr bool is_choice = std::is_same_v<algorithm, allfold::automatic>;
      using schedule = std::conditional_t<is_choice, allfold::direct, algorithm>;
      const std::size_t count = count_of(schedule{}.chunks(ranks), sizeof(T));
      for (const bool in_place : {false, true})
        carry_out({test::all_reduce_job(what, ranks, count, in_place, random)}, ranks, list);
    }
  });
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("a long reduce", algorithm, allfold::direct, allfold::ring, allfold::tree,
                   allfold::primary<>) {
  test::failures list;
  test::random_bits random{3};
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    const auto what = test::reduce_by<algorithm, T, allfold::sum>();
    const std::size_t count = count_of(1, sizeof(T));
    for (const int ranks : rank_counts)
      for (const bool in_place : {false, true})
        carry_out({test::reduce_job(what, ranks, count, ranks / 2, in_place, random)}, ranks, list);
  });
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("a long reduce_scatter", algorithm, allfold::direct, allfold::ring) {
  test::failures list;
  test::random_bits random{4};
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    const auto what = test::reduce_scatter_by<algorithm, T, allfold::sum>();
    const std::size_t share = count_of(1, sizeof(T));
    for (const int ranks : rank_counts)
      for (const bool in_place : {false, true})
        carry_out({test::reduce_scatter_job(what, ranks, share, in_place, random)}, ranks, list);
  });
  CHECK_NONE(list);
}
