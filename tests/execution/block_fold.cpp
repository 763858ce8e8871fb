// device::block_fold alone, thread by thread: every element of every target, whatever the addresses
// and the counts, against the plainest loop; and which thread writes what.
#include <allfold/execution/block_fold.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "support/elements.hpp"
#include "support/failures.hpp"
#include "support/operations.hpp"

namespace {

using allfold::device::block_fold;
using test::bytes;
using test::random_bits;

using pack6 = test::pack<std::uint16_t, 3>;
using pack32 = test::pack<double, 4>;
using elements =
    test::types<std::uint8_t, short, allfold::half, allfold::bfloat16, test::pack3, float, pack6,
                double, test::pack12, std::complex<double>, long double, test::pack24, pack32>;

constexpr int most_sources = 5, most_targets = 3;
constexpr std::byte guard{0xc3};

/// Where a fold's sources and targets lie: byte offsets behind a cache line, each in a buffer of
/// its own. A target with a number of its own in `same_as` is that source.
struct layout {
  std::vector<std::size_t> sources, targets;
  std::vector<int> same_as;

  std::string text() const {
    std::string all = "sources at";
    for (const std::size_t each : sources) all += " " + std::to_string(each);
    all += ", targets at";
    for (std::size_t k = 0; k < targets.size(); ++k)
      all += same_as[k] >= 0 ? " the source " + std::to_string(same_as[k])
                             : " " + std::to_string(targets[k]);
    return all;
  }
};

template <class T>
T element_at(const std::byte* memory, std::size_t i) {
  T value;
  std::memcpy(&value, memory + i * sizeof(T), sizeof(T));
  return value;
}

/// The memory of one fold, with guards around every buffer.
template <class T>
class arena {
 public:
  arena(const layout& at, std::size_t count, random_bits& random) : at_{at}, count_{count} {
    for (const std::size_t offset : at.sources) {
      bytes& mine = buffers_.emplace_back(made(offset));
      test::fill_random<T>(mine.data() + offset, count, random, test::range::all);
      places_.push_back(mine.data() + offset);
    }
    for (std::size_t k = 0; k < at.targets.size(); ++k) {
      if (at.same_as[k] >= 0)
        places_.push_back(places_[static_cast<std::size_t>(at.same_as[k])]);
      else
        places_.push_back(buffers_.emplace_back(made(at.targets[k])).data() + at.targets[k]);
    }
  }
  arena(const arena&) = delete;

  template <class Operation>
  void fold(int finish_ranks, int index, int threads) const {
    const block_fold<T, Operation> fold{places_.data(), static_cast<int>(at_.sources.size()),
                                        static_cast<int>(at_.targets.size()), Operation{},
                                        finish_ranks};
    fold(count_, index, threads);
  }

  /// What every element of every target must become.
  template <class Operation>
  bytes plainly_folded(int finish_ranks) const {
    using wide = allfold::accumulator<T>;
    const Operation operation{};
    bytes result(count_ * sizeof(T));
    for (std::size_t i = 0; i < count_; ++i) {
      wide total = static_cast<wide>(element_at<T>(places_[0], i));
      for (std::size_t k = 1; k < at_.sources.size(); ++k)
        total =
            static_cast<wide>(operation(total, static_cast<wide>(element_at<T>(places_[k], i))));
      if constexpr (requires { operation.finish(total, 1); })
        if (finish_ranks > 0) total = static_cast<wide>(operation.finish(total, finish_ranks));
      const T rounded = static_cast<T>(total);
      std::memcpy(result.data() + i * sizeof(T), &rounded, sizeof(T));
    }
    return result;
  }

  /// True if every target holds `result`, and all other bytes are what they were in `before`.
  bool holds(const bytes& result, const std::vector<bytes>& before) const {
    std::vector<bytes> expected = before;
    for (std::size_t k = 0; k < at_.targets.size(); ++k) {
      const std::byte* const target = places_[at_.sources.size() + k];
      const std::size_t first =
          test::first_difference(test::kind_of_element<T>, target, result.data(), count_);
      if (first != count_) return false;
      for (std::size_t b = 0; b < buffers_.size(); ++b) {
        const std::byte* const begin = buffers_[b].data();
        if (begin <= target && target < begin + buffers_[b].size())
          std::copy_n(target, count_ * sizeof(T), expected[b].begin() + (target - begin));
      }
    }
    return expected == buffers_;
  }
  const std::vector<bytes>& buffers() const { return buffers_; }

 private:
  bytes made(std::size_t offset) const { return bytes(offset + count_ * sizeof(T) + 19, guard); }

  const layout& at_;
  std::size_t count_;
  std::vector<bytes> buffers_;
  std::vector<std::byte*> places_;
};

/// One fold by all threads of a block, one after the other.
template <class T, class Operation>
void try_fold(const layout& at, std::size_t count, int threads, random_bits& random,
              test::failures& list) {
  // An average of a single rank is its element, of several it divides.
  const int finish_ranks = random.below(2) == 0 ? 0 : static_cast<int>(at.sources.size());
  const arena<T> memory{at, count, random};
  const std::vector<bytes> before = memory.buffers();
  const bytes result = memory.template plainly_folded<Operation>(finish_ranks);
  for (int index = 0; index < threads; ++index)
    memory.template fold<Operation>(finish_ranks, index, threads);
  if (!memory.holds(result, before))
    list.add(std::to_string(count) + " x " + std::string{allfold::type_name<T>()} + ", " +
             std::string{allfold::type_name<Operation>()} + " over " +
             std::to_string(finish_ranks) + " ranks, " + std::to_string(threads) + " threads, " +
             at.text());
}

/// Sources and targets anywhere, or all as far from a multiple of 16; some targets are sources.
layout any_layout(std::size_t unit, random_bits& random) {
  const std::size_t places = 32 / unit;
  const bool alike = random.below(2) == 0;
  const std::size_t base = random.below(places) * unit;
  const auto any_place = [&] {
    return alike ? base + 16 * random.below(2) : random.below(places) * unit;
  };
  layout at;
  at.sources.resize(1 + random.below(most_sources));
  for (std::size_t& each : at.sources) each = any_place();
  at.targets.resize(1 + random.below(most_targets));
  for (std::size_t& each : at.targets) each = any_place();
  for (std::size_t k = 0; k < at.targets.size(); ++k)
    at.same_as.push_back(random.below(3) == 0 ? static_cast<int>(random.below(at.sources.size()))
                                              : -1);
  return at;
}

/// Which thread writes each element, if `count` of them are copied from `source` to `target`, both
/// in bytes behind a cache line; −1 if none or several do.
template <class T>
std::vector<int> writers_of(std::size_t source, std::size_t target, std::size_t count,
                            int threads) {
  std::vector<int> writers(count, -1);
  const bytes from(source + count * sizeof(T), std::byte{0x11});
  bytes to(target + count * sizeof(T));
  std::byte* const places[] = {const_cast<std::byte*>(from.data()) + source, to.data() + target};
  for (int index = 0; index < threads; ++index) {
    std::fill(to.begin(), to.end(), std::byte{0});
    const block_fold<T, allfold::sum> fold{places, 1, 1, {}, 0};
    fold(count, index, threads);
    for (std::size_t i = 0; i < count; ++i) {
      const auto written =
          std::count(to.begin() + static_cast<long>(target + i * sizeof(T)),
                     to.begin() + static_cast<long>(target + (i + 1) * sizeof(T)), std::byte{0x11});
      if (written == static_cast<long>(test::kind_of_element<T>.value_bytes))
        writers[i] = writers[i] == -1 ? index : -2;
      else if (written != 0)
        writers[i] = -2;
    }
  }
  std::replace(writers.begin(), writers.end(), -2, -1);
  return writers;
}

}  // namespace

TEST_CASE("sources and targets behind any address, any count") {
  test::failures list;
  random_bits random{1};
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    for (std::size_t count = 0; count <= 200; ++count)
      for (int i = 0; i < 6; ++i) {
        const int threads = 1 + static_cast<int>(random.below(9));
        try_fold<T, allfold::sum>(any_layout(alignof(T), random), count, threads, random, list);
        try_fold<T, allfold::average>(any_layout(alignof(T), random), count, threads, random, list);
      }
  });
  CHECK_NONE(list);
}

TEST_CASE("one source and one target: every pair of addresses") {
  test::failures list;
  random_bits random{2};
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    for (std::size_t source = 0; source < 16; source += alignof(T))
      for (std::size_t target = 0; target < 16; target += alignof(T))
        for (const std::size_t count : {1u, 15u, 16u, 17u, 64u, 131u})
          try_fold<T, allfold::sum>({{source}, {target}, {-1}}, count, 3, random, list);
  });
  CHECK_NONE(list);
}

TEST_CASE("long folds, by few threads and by many") {
  test::failures list;
  random_bits random{3};
  test::for_each(elements{}, [&](auto element) {
    using T = typename decltype(element)::of;
    for (const int threads : {1, 3, 32, 64, 512})
      for (const std::size_t count : {1000u, 1024u, 4099u}) {
        try_fold<T, allfold::sum>(any_layout(alignof(T), random), count, threads, random, list);
        try_fold<T, allfold::sum>({{0, 16, 0}, {16, 0}, {-1, 0}}, count, threads, random, list);
      }
  });
  CHECK_NONE(list);
}

TEST_CASE("every operation") {
  test::failures list;
  random_bits random{4};
  const auto try_all = [&]<class T>(test::type<T>) {
    test::for_each(
        test::types<allfold::sum, allfold::product, allfold::minimum, allfold::maximum,
                    allfold::average, test::twice_and, test::last_wins, test::sum_doubled>{},
        [&](auto operation) {
          for (int i = 0; i < 50; ++i)
            try_fold<T, typename decltype(operation)::of>(any_layout(alignof(T), random),
                                                          random.below(300), 5, random, list);
        });
  };
  test::for_each(test::types<int, float, allfold::bfloat16, test::pack2, test::pack24>{}, try_all);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("neighbouring threads write neighbouring packets, each the whole of its own", T,
                   std::uint8_t, allfold::half, float, double, test::pack2) {
  constexpr std::size_t each = 16 / sizeof(T);
  static_assert(allfold::device::fits_packets<T>);
  for (const int threads : {2, 3, 8})
    for (std::size_t source = 0; source < 16; source += sizeof(T)) {
      const std::size_t count = 40 * each + 1;
      const std::vector<int> writers = writers_of<T>(source, source + 16, count, threads);
      CHECK(std::count(writers.begin(), writers.end(), -1) == 0);
      const std::size_t first = (16 - source) % 16 / sizeof(T);
      std::size_t strays = 0;
      for (std::size_t i = first; i < first + (count - first) / each * each; ++i)
        strays += writers[i] != static_cast<int>((i - first) / each) % threads;
      CHECK(strays == 0);
    }
}

TEST_CASE_TEMPLATE("otherwise neighbouring threads write neighbouring elements", T, std::uint8_t,
                   float, test::pack3, test::pack12, test::pack24) {
  for (const int threads : {2, 3, 8}) {
    // Where packets would fit, the source lies otherwise than the target.
    const std::vector<int> writers = writers_of<T>(alignof(T), 0, 50, threads);
    std::size_t strays = 0;
    for (std::size_t i = 0; i < writers.size(); ++i)
      strays += writers[i] != static_cast<int>(i) % threads;
    CHECK(strays == 0);
  }
}

TEST_CASE("which elements fill packets") {
  using allfold::device::fits_packets;
  CHECK(fits_packets<char>);
  CHECK(fits_packets<short>);
  CHECK(fits_packets<float>);
  CHECK(fits_packets<double>);
  CHECK(fits_packets<std::complex<double>>);
  CHECK_FALSE(fits_packets<test::pack3>);
  CHECK_FALSE(fits_packets<pack6>);
  CHECK_FALSE(fits_packets<test::pack12>);
  CHECK_FALSE(fits_packets<test::pack24>);
  CHECK_FALSE(fits_packets<pack32>);
}

TEST_CASE("a copy onto itself writes nothing") {
  // Under ThreadSanitizer other tests would notice too; here the memory can't be written.
  static const std::uint32_t fixed[64] = {1, 2, 3};
  std::byte* const same = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(fixed));
  std::byte* const places[] = {same, same};
  const block_fold<std::uint32_t, allfold::sum> fold{places, 1, 1, {}, 0};
  for (int index = 0; index < 3; ++index) fold(64, index, 3);
  CHECK(fixed[2] == 3);
}
