#include <allfold/data_parallel/sampler.hpp>

#include "sampler_golden.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <numeric>
#include <random>
#include <ranges>
#include <source_location>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using index_list = std::vector<std::size_t>;

struct place {
  int rank() const { return mine; }
  int size() const { return all; }
  int mine, all;
};

constexpr int rank_counts[] = {1, 2, 3, 4, 5, 8};
constexpr std::size_t lengths[] = {0, 1, 2, 3, 7, 10, 64, 100, 1001};

// FNV-1a, 32 bits, over 32-bit words: http://www.isthe.com/chongo/tech/comp/fnv/
std::uint32_t hash(const index_list& numbers, std::uint32_t value = 0x811c9dc5u) {
  for (const std::size_t number : numbers)
    for (int shift = 0; shift < 32; shift += 8)
      value = (value ^ static_cast<std::uint8_t>(number >> shift)) * 0x01000193u;
  return value;
}

std::uint32_t all_ranks(const golden::hashes& expected, allfold::sampler_options options,
                        std::uint64_t epoch) {
  std::uint32_t value = hash({});
  for (int rank = 0; rank < expected.ranks; ++rank) {
    const allfold::distributed_sampler sampler{expected.length, rank, expected.ranks, options};
    const index_list own = sampler.indices(epoch);
    CHECK(own.size() == sampler.size());
    value = hash(own, hash({own.size()}, value));
  }
  return value;
}

// `call` is written on the same line as `refused`, and so on the line that the error must name.
void refused(auto&& call, const std::string& why,
             std::source_location here = std::source_location::current()) {
  std::string text = "no usage_error";
  try {
    call();
  } catch (const allfold::usage_error& error) {
    text = error.what();
  }
  CHECK(text == "distributed_sampler on " + why + ", at " + allfold::place_of(here));
}

}  // namespace

TEST_CASE("mersenne_twister draws what std::mt19937 draws") {
  static_assert(std::uniform_random_bit_generator<allfold::mersenne_twister>);
  for (const std::uint64_t seed : {0ull, 1ull, 5489ull, 0xffffffffull}) {
    allfold::mersenne_twister own{seed};
    std::mt19937 reference{static_cast<std::mt19937::result_type>(seed)};
    int different = 0;
    for (int i = 0; i < 10'000; ++i) different += own() != reference();
    CHECK(different == 0);
  }
}

TEST_CASE("mersenne_twister draws what the C++ standard asks of std::mt19937 after 10000 draws") {
  allfold::mersenne_twister random{5489};
  for (int i = 1; i < 10'000; ++i) random();
  CHECK(random() == 4123659995u);
}

TEST_CASE("mersenne_twister reads the low 32 bits of the seed") {
  allfold::mersenne_twister low{7}, high{(0xabcdull << 32) + 7}, other{8};
  const std::uint32_t drawn = low();
  CHECK(high() == drawn);
  CHECK(other() != drawn);
}

TEST_CASE("distributed_sampler gives PyTorch's indices") {
  REQUIRE(std::size(golden::in_full) == 32);
  for (const golden::vectors& expected : golden::in_full)
    for (int rank = 0; rank < expected.ranks; ++rank) {
      INFO("length ", expected.length, ", ranks ", expected.ranks, ", rank ", rank, ", seed ",
           expected.with.seed, ", epoch ", expected.with.epoch);
      const allfold::distributed_sampler sampler{
          expected.length,
          place{rank, expected.ranks},
          {.seed = expected.with.seed, .drop_last = expected.drop_last}};
      CHECK(sampler.indices(expected.with.epoch) ==
            expected.indices[static_cast<std::size_t>(rank)]);
    }
}

TEST_CASE("distributed_sampler gives the hashes of PyTorch's indices") {
  REQUIRE(std::size(golden::all) == 120);
  for (const golden::hashes& expected : golden::all) {
    INFO("length ", expected.length, ", ranks ", expected.ranks, ", drop_last ",
         expected.drop_last);
    allfold::sampler_options options{.shuffle = false, .drop_last = expected.drop_last};
    CHECK(all_ranks(expected, options, 0) == expected.in_order);
    CHECK(all_ranks(expected, options, 5) == expected.in_order);
    options.shuffle = true;
    for (std::size_t i = 0; i < golden::shuffles.size(); ++i) {
      options.seed = golden::shuffles[i].seed;
      INFO("seed ", options.seed, ", epoch ", golden::shuffles[i].epoch);
      CHECK(all_ranks(expected, options, golden::shuffles[i].epoch) == expected.shuffled[i]);
    }
  }
}

TEST_CASE("detail::permutation of very many numbers draws 64 bits for each") {
  CHECK(allfold::detail::permutation(20, 7, 20) == golden::wide_order_of_20_seed_7);
  CHECK(hash(allfold::detail::permutation(1001, 7, 0)) == golden::wide_hash_of_1001_seed_7);
  CHECK(allfold::detail::permutation(20, 7, 21) != golden::wide_order_of_20_seed_7);
  CHECK(allfold::detail::permutation(20, 7, 21) == allfold::detail::permutation(20, 7));
}

TEST_CASE("the ranks cover the data set, in equal parts") {
  for (const std::size_t length : lengths)
    for (const int ranks : rank_counts)
      for (const bool shuffle : {false, true})
        for (const bool drop_last : {false, true}) {
          INFO("length ", length, ", ranks ", ranks, ", shuffle ", shuffle, ", drop_last ",
               drop_last);
          std::vector<int> times(length);
          std::size_t each = 0;
          for (int rank = 0; rank < ranks; ++rank) {
            const allfold::distributed_sampler sampler{
                length, rank, ranks, {.seed = 3, .shuffle = shuffle, .drop_last = drop_last}};
            if (rank == 0) each = sampler.size();
            CHECK(sampler.size() == each);
            for (const std::size_t index : sampler.indices(2)) ++times.at(index);
          }
          const auto total = static_cast<std::size_t>(ranks) * each;
          CHECK(std::accumulate(times.begin(), times.end(), std::size_t{0}) == total);
          const auto [least, most] = std::minmax_element(times.begin(), times.end());
          if (length == 0) {
            CHECK(each == 0);
          } else if (drop_last) {
            CHECK(total + static_cast<std::size_t>(ranks) > length);
            CHECK(*most <= 1);
          } else {
            CHECK(total < length + static_cast<std::size_t>(ranks));
            CHECK(*least >= 1);
            CHECK(*most - *least <= 1);
          }
        }
}

TEST_CASE("another epoch or seed gives another order, the same ones the same") {
  const allfold::distributed_sampler first{100, 1, 3, {.seed = 1}}, second{100, 1, 3, {.seed = 2}};
  CHECK(first.indices(0) == first.indices(0));
  CHECK(first.indices(0) != first.indices(1));
  CHECK(first.indices(0) != second.indices(0));
  CHECK(first.indices(1) == second.indices(0));  // PyTorch adds the two
}

TEST_CASE("the batches are the indices, cut") {
  for (const std::size_t length : lengths)
    for (const std::size_t per_batch : {1u, 2u, 7u, 64u, 5000u})
      for (const auto last : {allfold::last_batch::keep, allfold::last_batch::drop}) {
        const bool keep = last == allfold::last_batch::keep;
        INFO("length ", length, ", per_batch ", per_batch, ", keep ", keep);
        const allfold::distributed_sampler sampler{length, 1, 2};
        index_list joined;
        std::size_t count = 0, shorter = 0;
        for (auto batch : sampler.batches(4, per_batch, last)) {
          static_assert(std::is_same_v<decltype(batch), std::span<const std::size_t>>);
          CHECK(!batch.empty());
          CHECK(shorter == 0);  // the last one alone
          if (batch.size() != per_batch) ++shorter;
          joined.insert(joined.end(), batch.begin(), batch.end());
          ++count;
        }
        CHECK(count == sampler.batches(4, per_batch, last).size());
        index_list expected = sampler.indices(4);
        if (!keep) {
          CHECK(shorter == 0);
          expected.resize(expected.size() / per_batch * per_batch);
        }
        CHECK(joined == expected);
      }
}

TEST_CASE("sample_batches is a range that can be moved") {
  using range = allfold::sample_batches;
  static_assert(std::ranges::forward_range<const range> && std::ranges::sized_range<range>);
  static_assert(std::ranges::common_range<const range>);
  const allfold::distributed_sampler sampler{10, 0, 1, {.shuffle = false}};
  range batches = sampler.batches(0, 4);
  CHECK(batches.size() == 3);
  CHECK(!batches.empty());
  CHECK(std::ranges::equal(batches[2], index_list{8, 9}));
  CHECK(std::ranges::equal(*std::next(batches.begin()), index_list{4, 5, 6, 7}));
  auto second = batches.begin();
  CHECK(std::ranges::equal(*second++, index_list{0, 1, 2, 3}));
  CHECK(second == std::next(batches.begin()));
  CHECK(second != batches.end());

  const auto span = batches[0];
  const range moved = std::move(batches);
  CHECK(span.data() == moved[0].data());
  CHECK(sampler.batches(0, 11, allfold::last_batch::drop).empty());

  std::size_t samples = 0;
  for (const std::size_t size :
       sampler.batches(0, 3) | std::views::transform([](auto batch) { return batch.size(); }))
    samples += size;
  CHECK(samples == 10);
}

TEST_CASE("a data set smaller than the ranks, and an empty one") {
  const allfold::distributed_sampler repeated{2, 4, 5, {.shuffle = false}};
  CHECK(repeated.indices(0) == index_list{0});
  const allfold::distributed_sampler dropped{2, 4, 5, {.drop_last = true}};
  CHECK(dropped.size() == 0);
  CHECK(dropped.indices(0).empty());
  const allfold::distributed_sampler empty{0, 0, 2};
  CHECK(empty.size() == 0);
  for (auto batch : empty.batches(0, 64)) FAIL("a batch of ", batch.size());
}

TEST_CASE("sizes and epochs of any integer type, without a warning") {
  const long length = 10;
  const allfold::distributed_sampler sampler{length, place{1, 2}, {.seed = 0, .shuffle = true}};
  const int epoch = 3, per_batch = 4;
  const std::size_t wide_epoch = 3, wide_per_batch = 4;
  CHECK(sampler.indices(epoch) == sampler.indices(wide_epoch));
  CHECK(std::ranges::equal(sampler.batches(epoch, per_batch)[0],
                           sampler.batches(wide_epoch, wide_per_batch)[0]));
  CHECK_NOTHROW(sampler.indices(std::numeric_limits<std::uint64_t>::max()));
}

TEST_CASE("errors name the value, the rank and the caller") {
  using sampler = allfold::distributed_sampler;
  const sampler good{10, 1, 3};
  refused([] { sampler{10, 3, 3}; }, "rank 3: the rank must be in [0, 3)");
  refused([] { sampler{10, -1, 3}; }, "rank -1: the rank must be in [0, 3)");
  refused([] { sampler{10, place{5, 4}}; }, "rank 5: the rank must be in [0, 4)");
  refused([] { sampler{10, 0, 0}; }, "rank 0: the number of ranks is 0; it must be positive");
  refused([] { sampler{10, 0, -2}; }, "rank 0: the number of ranks is -2; it must be positive");
  refused([] { sampler{-7, 0, 2}; }, "rank 0: the data set size is -7; it must not be negative");
  refused([&] { good.indices(-4); }, "rank 1: the epoch is -4; it must not be negative");
  refused([&] { good.batches(-4, 2); }, "rank 1: the epoch is -4; it must not be negative");
  refused([&] { good.batches(0, 0); }, "rank 1: the batch size is 0; it must be positive");
  refused([&] { good.batches(0, 0u); }, "rank 1: the batch size is 0; it must be positive");
  refused([&] { good.batches(0, -64); }, "rank 1: the batch size is -64; it must be positive");
}
