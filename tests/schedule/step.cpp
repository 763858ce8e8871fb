#include <allfold/schedule/step.hpp>

#include <doctest/doctest.h>

#include <vector>

namespace {

using namespace allfold;

std::vector<int> listed(const ranks& who, int size) {
  std::vector<int> list;
  for (int i = 0; i < who.count; ++i) list.push_back(who.at(i, size));
  return list;
}

using list = std::vector<int>;

}  // namespace

TEST_CASE("ranks are listed in order, modulo the size") {
  CHECK(listed(every(4), 4) == list{0, 1, 2, 3});
  CHECK(listed(every(1), 1) == list{0});
  CHECK(listed(only(2), 4) == list{2});
  CHECK(listed(every_other(0, 4), 4) == list{1, 2, 3});
  CHECK(listed(every_other(2, 4), 4) == list{3, 0, 1});
  CHECK(listed(every_other(3, 4), 4) == list{0, 1, 2});
  CHECK(listed(every_other(0, 1), 1) == list{});
  CHECK(listed(ranks{1, 3, 2}, 6) == list{1, 3, 5});
  CHECK(listed(ranks{5, 3, 4}, 6) == list{5, 3, 1});
  CHECK(listed(ranks{0, 4, 5}, 6) == list{0, 5, 4, 3});
  CHECK(listed(ranks{3, 3, 0}, 6) == list{3, 3, 3});
}

TEST_CASE("wrap gives the remainder, also of negative numbers") {
  static_assert(wrap(0, 5) == 0 && wrap(4, 5) == 4 && wrap(5, 5) == 0);
  for (int size = 1; size <= 9; ++size)
    for (int value = -30; value <= 30; ++value) {
      const int it = wrap(value, size);
      CHECK(0 <= it);
      CHECK(it < size);
      CHECK((value - it) % size == 0);
    }
}

TEST_CASE("a step is built by chaining") {
  const step it = step{3, 2}
                      .from(every(4), buffer::input)
                      .from(only(1), buffer::scratch, 0)
                      .to(only(2), buffer::output)
                      .to(every(4), buffer::slot, 5)
                      .after(every(4), entered)
                      .after(only(3), 6)
                      .complete();
  CHECK(it.chunk == 3);
  CHECK(it.width == 2);
  CHECK(it.completes);
  REQUIRE(it.sources.count == 2);
  CHECK(it.sources.items[0].where == buffer::input);
  CHECK(it.sources.items[0].who.count == 4);
  CHECK(it.sources.items[0].chunk == 3);
  CHECK(it.sources.items[1].where == buffer::scratch);
  CHECK(it.sources.items[1].who.first == 1);
  CHECK(it.sources.items[1].chunk == 0);
  REQUIRE(it.targets.count == 2);
  CHECK(it.targets.items[0].where == buffer::output);
  CHECK(it.targets.items[0].chunk == 3);
  CHECK(it.targets.items[1].chunk == 5);
  REQUIRE(it.waits.count == 2);
  CHECK(it.waits.items[0].step == entered);
  CHECK(it.waits.items[1].step == 6);
  CHECK(it.waits.items[1].who.first == 3);
  CHECK(!step{it}.complete(false).completes);
}

TEST_CASE("a step without sources and waits is idle") {
  static_assert(step{}.idle());
  static_assert(!step{}.after(only(0), entered).idle());
  static_assert(!step{}.from(only(0), buffer::input).idle());
  static_assert(!alone().idle());
  const step it = alone();
  CHECK(it.chunk == 0);
  CHECK(it.width == 1);
  CHECK(it.completes);
}

TEST_CASE("a short list keeps what is pushed, in order") {
  few<int, 3> numbers;
  CHECK(numbers.empty());
  CHECK(numbers.begin() == numbers.end());
  for (const int each : {7, 8, 9}) numbers.push(each);
  CHECK(!numbers.empty());
  CHECK(list(numbers.begin(), numbers.end()) == list{7, 8, 9});
}

TEST_CASE("collectives are named as their functions are spelled") {
  using enum collective;
  static_assert(name_of(all_reduce) == "all_reduce" && name_of(reduce) == "reduce");
  static_assert(name_of(broadcast) == "broadcast" && name_of(reduce_scatter) == "reduce_scatter");
  static_assert(name_of(all_gather) == "all_gather" && name_of(scatter) == "scatter");
  static_assert(name_of(gather) == "gather" && name_of(all_to_all) == "all_to_all");
  static_assert(name_of(barrier) == "barrier");
  for (const collective kind : {all_reduce, reduce, broadcast, reduce_scatter, all_gather, scatter,
                                gather, all_to_all, barrier})
    CHECK(folds(kind) == (kind == all_reduce || kind == reduce || kind == reduce_scatter));
}
