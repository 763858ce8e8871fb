// Collectives on blocks whose buffers begin anywhere that their element type allows: on multiples
// of 16 bytes or not, all alike or each differently.
#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/halving_doubling.hpp>
#include <allfold/schedule/ring.hpp>
#include <allfold/schedule/tree.hpp>

#include <doctest/doctest.h>

#include "shapes.hpp"
#include "support/folding.hpp"
#include "support/moving.hpp"

namespace {

using test::job;
using test::random_bits;

/// Bytes behind a cache line: where a rank's input and output begin, in steps of the type's
/// alignment, and how much further those of the next rank.
struct offsets {
  const char* name;
  std::size_t input, output, per_rank;
};

/// For elements aligned to `unit` bytes.
std::vector<offsets> offsets_for(std::size_t unit) {
  const std::size_t end = unit < 16 ? 16 - unit : 0;
  return {{"all on a multiple of 16", 0, 16, 0},
          {"all alike behind a multiple of 16", unit, 16 + unit, 0},
          {"all alike before a multiple of 16", end, end, 0},
          {"inputs on a multiple of 16, outputs not", 16, unit, 0},
          {"outputs on a multiple of 16, inputs not", end, 0, 0},
          {"each rank differently", 0, 0, unit}};
}

/// One rank's part of a job, with its memory in these places.
void carry_out_at(test::world& world, const job& it, const offsets& at, test::failures& list) {
  const auto rank = static_cast<std::size_t>(world.rank());
  const test::memory& mine = it.ranks[rank];
  test::element_kind byte = *it.kind;
  byte.size = 1;
  const std::size_t further = at.per_rank * rank;
  test::detail::guarded input{byte, mine.input, at.input + further, true};
  test::detail::guarded output{byte, mine.output, at.output + further, true};
  it.call(world, {input.data(), mine.input.size() / it.kind->size, output.data(),
                  mine.output.size() / it.kind->size, it.counts, it.root, it.in_place});
  const auto& input_after = mine.input_after.empty() ? mine.input : mine.input_after;
  const auto& output_after = mine.output_after.empty() ? mine.output : mine.output_after;
  test::detail::compare(it, world.rank(), at.name, input, input_after, list);
  test::detail::compare(it, world.rank(), at.name, output, output_after, list);
}

/// Carries out each job with each of the offsets.
void try_offsets(const std::vector<job>& jobs, const test::shape& on, test::failures& list) {
  test::current_grid = on.blocks;
  test::run_world(on.ranks, [&](test::world& world) {
    for (const job& it : jobs)
      for (const offsets& at : offsets_for(it.kind->alignment)) carry_out_at(world, it, at, list);
  });
}

/// Long enough that every lane has whole packets and something at both ends.
template <class T>
constexpr std::size_t count = 700 / sizeof(T) + 3;

}  // namespace

TEST_CASE("folds of elements that begin anywhere") {
  using algorithms =
      test::types<allfold::ring, allfold::direct, allfold::tree, allfold::halving_doubling>;
  using elements = test::types<std::uint8_t, allfold::bfloat16, float, double, std::complex<double>,
                               test::pack3, test::pack12, test::pack24, long double>;
  test::failures list;
  random_bits random{1};
  test::shapes_in_turn shapes;
  test::for_each_numbered(elements{}, [&](auto element, auto number) {
    using T = typename decltype(element)::of;
    const test::shape& on = shapes.next(2);
    const auto what = test::all_reduce_by<test::picked<number, algorithms>, T, allfold::average>();
    const auto scattered = test::reduce_scatter_by<allfold::direct, T, allfold::sum>();
    try_offsets({all_reduce_job(what, on.ranks, count<T>, false, random),
                 all_reduce_job(what, on.ranks, count<T>, true, random),
                 reduce_scatter_job(scattered, on.ranks, count<T> / 3, false, random)},
                on, list);
  });
  CHECK_NONE(list);
}

TEST_CASE("short folds of elements that begin anywhere") {
  using elements = test::types<std::uint8_t, allfold::bfloat16, float, double, test::pack3>;
  test::failures list;
  random_bits random{2};
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    const auto what = test::all_reduce_by<allfold::direct, T, allfold::sum>();
    try_offsets({all_reduce_job(what, 3, 37, false, random),
                 all_reduce_job(what, 3, 490 / sizeof(T), true, random)},
                {3, {3, 2}}, list);
  });
  CHECK_NONE(list);
}

TEST_CASE("elements that are moved from and to anywhere") {
  using elements = test::types<std::uint8_t, short, float, double, std::complex<float>, test::pack3,
                               test::pack12>;
  test::failures list;
  random_bits random{3};
  test::shapes_in_turn shapes;
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    const test::shape& on = shapes.next(2);
    const auto gather = test::all_gather_by<allfold::ring, T>();
    const auto to_all = test::all_to_all_by<allfold::direct, T>();
    const auto broadcast = test::broadcast_by<allfold::tree, T>();
    try_offsets({broadcast_job(broadcast, on.ranks, count<T>, 1, false, random),
                 all_gather_job(gather, on.ranks, count<T> / 2, {}, false, random),
                 all_to_all_job(to_all, on.ranks, count<T> / 4, false, random)},
                on, list);
  });
  CHECK_NONE(list);
}
