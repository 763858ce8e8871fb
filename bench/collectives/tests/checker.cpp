// Feeds the benchmark's checks results that are wrong: they must say so.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <allfold/launch/spawn.hpp>
#include <array>
#include <string>

#include "measure.hpp"
#include "table.hpp"
#include "worlds.hpp"

namespace {

using namespace bench;
using enum allfold::collective;

constexpr int ranks = 3;

/// One row by `call`, which stands in for the collective that `of` names.
row measured(const series& of, repeated_call<threads_world> call, std::size_t bytes) {
  row result;
  allfold::spawn(ranks, [&](auto& world) {
    measuring how;
    how.calls = 1;
    rank_memory memory{bytes, 0};
    const row mine = rank_meter<threads_world>{world, of, call, how, memory}.measure(bytes);
    if (world.rank() == 0) result = mine;
  });
  return result;
}

series series_of(allfold::collective what, const char* algorithm = "direct",
                 datatype type = datatype::float32, redop operation = redop::sum) {
  return {what, algorithm, type, operation, 0, ranks};
}

repeated_call<threads_world> right_call(const series& of) {
  return find_call<threads_world>(of.what, of.algorithm, of.type, of.operation);
}

/// The collective, after which the lowest bit of one rank's third result is another.
template <allfold::collective What>
void spoil_one_bit(threads_world& world, const operands& with, std::size_t times) {
  repeat<What, allfold::direct, float, allfold::sum>(world, with, times);
  if (world.rank() == with.root && times > 0) with.output[2 * sizeof(float)] ^= std::byte{1};
  allfold::barrier(world);  // nobody starts anew before the bit is spoilt
}

void do_nothing(threads_world&, const operands&, std::size_t) {}

}  // namespace

TEST_CASE("the library's own collectives have nothing wrong") {
  for (int what = 0; what < collectives; ++what)
    for (const std::string_view algorithm : algorithms_of(static_cast<allfold::collective>(what))) {
      series of = series_of(static_cast<allfold::collective>(what));
      of.algorithm = algorithm;
      const row it = measured(of, right_call(of), 6000);
      CAPTURE(std::string{allfold::name_of(of.what)} + " by " + of.algorithm);
      CHECK(it.out_of_place.wrong == 0u);
      CHECK(it.in_place.wrong == 0u);
    }
}

TEST_CASE("one wrong bit in a fold is found, in exact values and in random ones") {
  for (const auto& [what, call] :
       std::array<std::pair<allfold::collective, repeated_call<threads_world>>, 3>{
           {{all_reduce, &spoil_one_bit<all_reduce>},
            {reduce, &spoil_one_bit<reduce>},
            {reduce_scatter, &spoil_one_bit<reduce_scatter>}}}) {
    const row it = measured(series_of(what), call, 6000);
    CHECK(it.out_of_place.wrong == 2u);
    CHECK(it.in_place.wrong == 2u);
  }
}

TEST_CASE("one wrong bit in what is moved is found") {
  for (const auto& [what, call] :
       std::array<std::pair<allfold::collective, repeated_call<threads_world>>, 5>{
           {{broadcast, &spoil_one_bit<broadcast>},
            {all_gather, &spoil_one_bit<all_gather>},
            {scatter, &spoil_one_bit<scatter>},
            {gather, &spoil_one_bit<gather>},
            {all_to_all, &spoil_one_bit<all_to_all>}}}) {
    const row it = measured(series_of(what), call, 6000);
    CHECK(it.out_of_place.wrong == 1u);
    CHECK(it.in_place.wrong == 1u);
  }
}

TEST_CASE("what lay in the output before is no result") {
  // 500 elements each; out of place, in exact and in random values, on every rank that gets any.
  CHECK(measured(series_of(all_reduce), &do_nothing, 2000).out_of_place.wrong == 3000u);
  CHECK(measured(series_of(reduce), &do_nothing, 2000).out_of_place.wrong == 1000u);
  CHECK(measured(series_of(reduce_scatter), &do_nothing, 6000).out_of_place.wrong == 3000u);
  CHECK(measured(series_of(broadcast), &do_nothing, 2000).out_of_place.wrong == 1500u);
  CHECK(measured(series_of(all_gather), &do_nothing, 6000).out_of_place.wrong == 4500u);
  CHECK(measured(series_of(scatter), &do_nothing, 6000).out_of_place.wrong == 1500u);
  CHECK(measured(series_of(gather), &do_nothing, 6000).out_of_place.wrong == 1500u);
  CHECK(measured(series_of(all_to_all), &do_nothing, 6000).out_of_place.wrong == 4500u);
}

TEST_CASE("a barrier that does not wait is found") {
  const row it = measured(series_of(barrier), &do_nothing, 0);
  CHECK(it.out_of_place.wrong.value() > 0);
  CHECK(it.in_place.wrong.value() > 0);
}

TEST_CASE("a fold in another order than the declared one is found by random values alone") {
  // `ring` is carried out, but the order of `direct` is expected.
  for (const datatype type : {datatype::float32, datatype::float64, datatype::half}) {
    const row it = measured(series_of(all_reduce, "direct", type),
                            right_call(series_of(all_reduce, "ring", type)), 6000);
    CHECK(it.out_of_place.wrong.value() > 10);
    CHECK(it.out_of_place.wrong.value() < ranks * 6000 / size_of(type));
  }
  // Of integers every order gives the same bits.
  const row it = measured(series_of(all_reduce, "direct", datatype::int32),
                          right_call(series_of(all_reduce, "ring", datatype::int32)), 6000);
  CHECK(it.out_of_place.wrong == 0u);
}

TEST_CASE("the table says that a result is wrong") {
  const std::array rows{measured(series_of(all_reduce), &spoil_one_bit<all_reduce>, 6000)};
  CHECK(wrong_in(rows[0]) == 4);
  std::array<char, 1000> text{};
  std::FILE* const file = fmemopen(text.data(), text.size() - 1, "w");
  REQUIRE(file != nullptr);
  print_foot(file, rows);
  std::fclose(file);
  CHECK(std::string{text.data()}.starts_with("# Out of bounds values : 4 FAILED\n"));
}

TEST_CASE("numbers keep to their columns") {
  CHECK(fitted(0.123, 7, 2) == "   0.12");
  CHECK(fitted(0.123, 7, 3) == "  0.123");
  CHECK(fitted(12345.678, 7, 2) == "12345.7");
  CHECK(fitted(123456.78, 7, 2) == " 123457");
  CHECK(fitted(123456789.0, 7, 2) == "1.2e+08");
}
