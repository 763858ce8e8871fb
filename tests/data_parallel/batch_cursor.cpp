#include <allfold/data_parallel/batch_cursor.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace {

using allfold::batch_cursor;
using allfold::continuation;
using allfold::distributed_sampler;
using allfold::interrupted;
using allfold::last_batch;
using allfold::sampler_options;
using allfold::usage_error;

struct place {
  int of, among;
  int rank() const { return of; }
  int size() const { return among; }
};

std::vector<std::size_t> list(std::span<const std::size_t> batch) {
  return {batch.begin(), batch.end()};
}
/// All ranks' next batches, side by side.
std::vector<std::size_t> together(std::vector<batch_cursor>& ranks) {
  std::vector<std::size_t> all;
  for (batch_cursor& each : ranks) {
    const auto own = list(each.batch());
    all.insert(all.end(), own.begin(), own.end());
    each.advance();
  }
  return all;
}
std::vector<batch_cursor> cursors(std::size_t samples, int ranks, int per_batch,
                                  sampler_options how = {.seed = 5},
                                  last_batch last = last_batch::keep) {
  std::vector<batch_cursor> all;
  for (int rank = 0; rank < ranks; ++rank)
    all.emplace_back(distributed_sampler{samples, place{rank, ranks}, how}, per_batch, last);
  return all;
}
/// What continue_on does for cursors.
void share(const batch_cursor& source, batch_cursor& other) {
  std::vector<std::byte> bytes;
  batch_cursor copy = source;
  copy.share_state([&](auto& it) {
    const auto* const from = reinterpret_cast<const std::byte*>(&it);
    bytes.assign(from, from + sizeof it);
  });
  other.share_state(
      [&](auto& it) { std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::byte*>(&it)); });
}

}  // namespace

TEST_CASE("the batches are the sampler's, epoch after epoch") {
  for (const bool shuffle : {false, true})
    for (const last_batch last : {last_batch::keep, last_batch::drop})
      for (int rank = 0; rank < 3; ++rank) {
        const distributed_sampler sampler{50, place{rank, 3}, {.seed = 9, .shuffle = shuffle}};
        batch_cursor cursor{sampler, 4, last};
        for (int epoch = 0; epoch < 3; ++epoch)
          for (const auto batch : sampler.batches(epoch, 4, last)) {
            CHECK(cursor.epoch() == static_cast<std::uint64_t>(epoch));
            CHECK(list(cursor.batch()) == list(batch));
            cursor.advance();
          }
        CHECK(cursor.epoch() == 3);
        CHECK(cursor.position() == sampler.start_of(3));
      }
}

TEST_CASE("it begins where it is told to") {
  const distributed_sampler sampler{50, place{1, 3}, {.seed = 9}};
  batch_cursor first{sampler, 4};
  for (int i = 0; i < 7; ++i) first.advance();
  batch_cursor second{sampler, 4, first.position()};
  CHECK(second.epoch() == 1);
  for (int i = 0; i < 7; ++i) {
    CHECK(list(first.batch()) == list(second.batch()));
    first.advance();
    second.advance();
  }
}

TEST_CASE("an empty data set has empty batches") {
  batch_cursor cursor{distributed_sampler{0, place{0, 2}}, 4};
  CHECK(cursor.batch().empty());
  cursor.advance();
  CHECK(cursor.epoch() == 1);
  CHECK(cursor.batch().empty());
}

TEST_CASE("after a failure each sample still comes once, or the batch is dropped") {
  for (const interrupted how : {interrupted::repeat, interrupted::drop})
    for (int before = 2; before <= 5; ++before)
      for (int after = 1; after < before; ++after) {
        CAPTURE(before);
        CAPTURE(after);
        constexpr std::size_t samples = 60;
        std::vector<int> seen(samples);
        auto ranks = cursors(samples, before, 3, {.seed = 5, .drop_last = true});
        for (int step = 0; step < 2; ++step)
          for (const std::size_t each : together(ranks)) ++seen[each];
        std::vector<std::size_t> lost;
        auto copies = ranks;
        for (const std::size_t each : together(copies)) lost.push_back(each);
        ranks.resize(static_cast<std::size_t>(after), ranks[0]);
        for (int rank = 0; rank < after; ++rank)
          ranks[static_cast<std::size_t>(rank)].go_on(place{rank, after}, continuation{}, how);
        while (ranks[0].epoch() == 0)
          for (const std::size_t each : together(ranks)) ++seen[each];
        int missing = 0;
        for (std::size_t i = 0; i < samples; ++i) {
          const bool is_lost = std::find(lost.begin(), lost.end(), i) != lost.end();
          if (is_lost && how == interrupted::drop)
            CHECK(seen[i] == 0);
          else
            missing += seen[i] == 0;
          CHECK(seen[i] <= 1);
        }
        CHECK(missing < after);  // drop_last
      }
}

TEST_CASE(
    "a step that was taken, but for what follows it, is not repeated nor its successor dropped") {
  for (const interrupted how : {interrupted::repeat, interrupted::drop}) {
    auto ranks = cursors(60, 3, 2);
    auto ahead = ranks;
    together(ahead);
    ranks.resize(2, ranks[0]);
    ahead.resize(2, ahead[0]);
    for (int rank = 0; rank < 2; ++rank) {
      const auto me = static_cast<std::size_t>(rank);
      ranks[me].go_on(place{rank, 2}, continuation{.cut = true}, how);
      ahead[me].go_on(place{rank, 2}, continuation{}, interrupted::repeat);
      CHECK(list(ranks[me].batch()) == list(ahead[me].batch()));
    }
  }
}

TEST_CASE("ranks that hold the source's place go on alike, wherever they were") {
  // Rank 0 has gone on to two ranks and has come further; rank 1 has not heard of that yet.
  auto ranks = cursors(90, 4, 3);
  ranks[0].go_on(place{0, 3}, continuation{}, interrupted::drop);
  ranks[0].advance();
  for (const std::size_t source : {0u, 1u}) {
    auto pair = std::vector<batch_cursor>{ranks[0], ranks[1]};
    share(ranks[source], pair[1 - source]);
    for (int rank = 0; rank < 2; ++rank)
      pair[static_cast<std::size_t>(rank)].go_on(place{rank, 2}, continuation{}, interrupted::drop);
    CHECK(pair[0].position() == pair[1].position());
    CHECK(pair[0].position().samples_done == (source == 0 ? 12u + 9u + 9u : 12u));
  }
}

TEST_CASE("bad numbers and places are refused") {
  const distributed_sampler sampler{50, place{0, 2}, {.seed = 9}};
  CHECK_THROWS_AS((batch_cursor{sampler, 0}), usage_error);
  CHECK_THROWS_AS((batch_cursor{sampler, -3}), usage_error);
  auto other = sampler.start_of(1);
  other.seed = 8;
  CHECK_THROWS_AS((batch_cursor{sampler, 4, other}), usage_error);
  CHECK_THROWS_AS(sampler.on(place{2, 2}), usage_error);
  CHECK_THROWS_AS(sampler.on(place{0, 0}), usage_error);
  CHECK(sampler.on(place{4, 5}).ranks() == 5);
}
