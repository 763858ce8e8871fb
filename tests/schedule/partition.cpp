#include <allfold/schedule/partition.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

namespace {

using namespace allfold;

constexpr std::size_t counts[] = {0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 63, 64, 65, 100, 1000, 1001};
constexpr std::size_t granules[] = {1, 4, 16, 64};
constexpr std::size_t largest = std::numeric_limits<std::size_t>::max() / 2;
constexpr std::size_t huge_counts[] = {std::size_t{1} << 32, (std::size_t{1} << 32) + 1,
                                       (std::size_t{5} << 32) - 3, largest - 1, largest};

/// Expects that part_begin runs from 0 to `total` without going back, over multiples of the
/// granule.
void expect_parts(std::size_t total, int parts, std::size_t granule) {
  INFO(total, " elements in ", parts, " parts of a multiple of ", granule);
  CHECK(part_begin(total, parts, granule, 0) == 0);
  CHECK(part_begin(total, parts, granule, parts) == total);
  const std::size_t first = part_begin(total, parts, granule, 1);
  std::size_t before = 0;
  bool ended = false;
  for (int index = 1; index <= parts; ++index) {
    const std::size_t begin = part_begin(total, parts, granule, index);
    REQUIRE(begin >= before);
    const std::size_t length = begin - before;
    CHECK((begin == total || begin % granule == 0));
    CHECK(length <= first);                               // none is longer than the first
    CHECK((length == first || begin == total || ended));  // and all but the last are as long
    CHECK((!ended || length == 0));                       // then come empty ones
    ended = ended || begin == total;
    before = begin;
  }
  // No part is longer than an even share by a granule or more.
  CHECK(first <= total / static_cast<std::size_t>(parts) + granule);
}

/// Expects that the chunks of all pieces are, one after the other, all elements.
void expect_cover(const partition& parts, std::size_t count) {
  std::size_t end = 0;
  for (int piece = 0; piece < parts.pieces(); ++piece) {
    for (int chunk = 0; chunk < parts.chunks(); ++chunk) {
      const extent it = parts.of(chunk, 1, piece);
      CHECK(it.begin == end);
      CHECK(it.begin == parts.begin(chunk, piece));
      CHECK(it.count <= parts.longest());
      end = it.begin + it.count;
      REQUIRE(end >= it.begin);
    }
    CHECK(end == parts.begin(parts.chunks(), piece));
  }
  CHECK(end == count);
}

}  // namespace

TEST_CASE("part_begin divides any number of elements") {
  for (const std::size_t total : counts)
    for (int parts = 1; parts <= 20; ++parts)
      for (const std::size_t granule : granules) expect_parts(total, parts, granule);
}

TEST_CASE("part_begin divides more elements than 32 bits can count, and the most there can be") {
  for (const std::size_t total : huge_counts)
    for (const std::size_t granule : granules)
      for (const int parts : {1, 2, 3, 7, 64, 255}) expect_parts(total, parts, granule);
}

TEST_CASE("part_begin does not overflow, whatever the number of parts") {
  for (const std::size_t total :
       {std::size_t{1} << 32, largest, std::numeric_limits<std::size_t>::max()})
    for (const std::size_t granule : granules)
      for (const int parts : {1 << 20, (1 << 20) - 1, std::numeric_limits<int>::max()}) {
        INFO(total, " elements in ", parts, " parts of a multiple of ", granule);
        const std::size_t first = part_begin(total, parts, granule, 1);
        CHECK(first <= total / static_cast<std::size_t>(parts) + granule);
        for (const int index : {2, 3, parts / 2, parts - 2, parts - 1}) {
          const std::size_t begin = part_begin(total, parts, granule, index);
          CHECK((begin == total ||
                 (begin % first == 0 && begin / first == static_cast<std::size_t>(index))));
        }
        CHECK(part_begin(total, parts, granule, parts) == total);
      }
}

TEST_CASE("part_begin is known to the compiler") {
  static_assert(part_begin(10, 4, 1, 1) == 3);
  static_assert(part_begin(10, 4, 1, 3) == 9);
  static_assert(part_begin(10, 4, 4, 1) == 4);
  static_assert(part_begin(10, 4, 4, 2) == 8);
  static_assert(part_begin(10, 4, 4, 3) == 10);
  static_assert(part_begin(0, 3, 16, 2) == 0);
}

TEST_CASE("partition: chunks cover all elements, without a gap and without an overlap") {
  for (const std::size_t count : counts)
    for (const int chunks : {1, 2, 3, 4, 7, 8, 16})
      for (const int pieces : {1, 2, 3, 5, 9})
        for (const std::size_t granule : granules) {
          INFO(count, " elements, ", chunks, " chunks, ", pieces, " pieces, granule ", granule);
          expect_cover({count, chunks, pieces, granule}, count);
        }
  for (const std::size_t count : huge_counts)
    for (const int chunks : {1, 2, 3, 8})
      for (const int pieces : {1, 3, 1000}) {
        INFO(count, " elements, ", chunks, " chunks, ", pieces, " pieces");
        expect_cover({count, chunks, pieces, 16}, count);
      }
}

TEST_CASE("partition: within a piece, bounds are multiples of the granule") {
  for (const std::size_t count : counts)
    for (const int chunks : {1, 2, 3, 8})
      for (const int pieces : {1, 2, 5})
        for (const std::size_t granule : granules) {
          const partition parts{count, chunks, pieces, granule};
          for (int piece = 0; piece < pieces; ++piece) {
            const std::size_t first = parts.begin(0, piece);
            const std::size_t end = parts.begin(chunks, piece);
            CHECK((first % granule == 0 || first == count));
            for (int chunk = 1; chunk < chunks; ++chunk) {
              const std::size_t bound = parts.begin(chunk, piece);
              CHECK(((bound - first) % granule == 0 || bound == end));
            }
          }
        }
}

TEST_CASE("partition: fewer elements than chunks leave chunks empty, the last ones") {
  const partition parts{3, 8, 1, 1};
  for (int chunk = 0; chunk < 8; ++chunk)
    CHECK(parts.of(chunk, 1, 0).count == (chunk < 3 ? 1u : 0u));
  const partition coarse{40, 8, 1, 16};
  CHECK(coarse.of(0, 1, 0).count == 16);
  CHECK(coarse.of(1, 1, 0).count == 16);
  CHECK(coarse.of(2, 1, 0).count == 8);
  for (int chunk = 3; chunk < 8; ++chunk) {
    CHECK(coarse.of(chunk, 1, 0).begin == 40);
    CHECK(coarse.of(chunk, 1, 0).count == 0);
  }
}

TEST_CASE("partition: several chunks at once are what they are one by one") {
  const std::vector<std::size_t> by_rank = {3, 0, 7, 1, 0};
  for (const partition& parts : {partition{101, 5, 1, 4}, partition{101, 5, 3, 4},
                                 partition{2, 5, 2, 1}, partition{by_rank.data(), 5}})
    for (int piece = 0; piece < parts.pieces(); ++piece)
      for (int chunk = 0; chunk < 5; ++chunk)
        for (int width = 0; chunk + width <= 5; ++width) {
          std::size_t sum = 0;
          for (int i = 0; i < width; ++i) sum += parts.of(chunk + i, 1, piece).count;
          CHECK(parts.of(chunk, width, piece).count == sum);
          if (width > 0)
            CHECK(parts.of(chunk, width, piece).begin == parts.of(chunk, 1, piece).begin);
        }
}

TEST_CASE("partition by rank: every chunk has the count that it is given") {
  const std::vector<std::size_t> lists[] = {{5},
                                            {0},
                                            {0, 0, 0},
                                            {3, 0, 7, 1, 0},
                                            {0, 4, 0, 0, 9},
                                            {std::size_t{1} << 40, 1, largest / 2}};
  for (const std::vector<std::size_t>& list : lists) {
    const auto ranks = static_cast<int>(list.size());
    const partition parts{list.data(), ranks};
    CHECK(parts.chunks() == ranks);
    CHECK(parts.pieces() == 1);
    std::size_t sum = 0;
    for (int chunk = 0; chunk < ranks; ++chunk) {
      CHECK(parts.of(chunk, 1, 0).begin == sum);
      CHECK(parts.of(chunk, 1, 0).count == list[static_cast<std::size_t>(chunk)]);
      sum += list[static_cast<std::size_t>(chunk)];
    }
    expect_cover(parts, sum);
    CHECK(parts.longest() == *std::max_element(list.begin(), list.end()));
  }
}

TEST_CASE("longest is the longest chunk, of pieces as long as all of them") {
  CHECK(partition{0, 4, 1, 1}.longest() == 0);
  CHECK(partition{10, 4, 1, 1}.longest() == 3);
  CHECK(partition{10, 4, 1, 4}.longest() == 4);
  CHECK(partition{10, 1, 1, 16}.longest() == 10);
  CHECK(partition{10, 1, 3, 1}.longest() == 10);
  CHECK(partition{largest, 2, 1, 16}.longest() >= largest / 2);
}

TEST_CASE("holds_own_chunk: the buffers that are a share long") {
  using enum collective;
  for (const collective kind : {all_reduce, reduce, broadcast, reduce_scatter, all_gather, scatter,
                                gather, all_to_all, barrier}) {
    INFO(std::string{name_of(kind)});
    CHECK(holds_own_chunk(kind, buffer::input) == (kind == all_gather || kind == gather));
    CHECK(holds_own_chunk(kind, buffer::output) == (kind == reduce_scatter || kind == scatter));
    CHECK(holds_own_chunk(kind, buffer::slot) == holds_own_chunk(kind, buffer::input));
    CHECK(!holds_own_chunk(kind, buffer::scratch));
  }
}
