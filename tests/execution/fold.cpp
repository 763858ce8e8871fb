// fold() and copy(), element by element, against the plainest loop.
#include <allfold/execution/fold.hpp>

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "support/elements.hpp"
#include "support/failures.hpp"
#include "support/operations.hpp"

namespace {

using test::bytes;
using test::random_bits;
using byte_sources = std::vector<const std::byte*>;
using byte_targets = std::vector<std::byte*>;

constexpr int most = 9;

/// An element type and an operation, as far as a trial needs them.
struct subject {
  const test::element_kind* kind;
  std::string_view operation;
  test::range values;
  bool finishes;
  bool selects;  ///< the result is one of the elements: then they may be any bits, NaN too
  void (*fold)(const byte_sources&, const byte_targets&, std::size_t count, int finish_ranks);
  void (*plainly)(const byte_sources&, std::byte* result, std::size_t count, int finish_ranks);
};

template <class T, class Operation>
void folded(const byte_sources& sources, const byte_targets& targets, std::size_t count,
            int finish_ranks) {
  std::vector<const T*> from;
  std::vector<T*> to;
  for (const std::byte* each : sources) from.push_back(reinterpret_cast<const T*>(each));
  for (std::byte* each : targets) to.push_back(reinterpret_cast<T*>(each));
  allfold::fold<T>(from.data(), static_cast<int>(from.size()), to.data(),
                   static_cast<int>(to.size()), count, Operation{}, finish_ranks);
}

template <class T, class Operation>
void plainly_folded(const byte_sources& sources, std::byte* result, std::size_t count,
                    int finish_ranks) {
  using wide = allfold::accumulator<T>;
  const Operation operation{};
  for (std::size_t i = 0; i < count; ++i) {
    const auto element = [&](std::size_t k) {
      T value;
      std::memcpy(&value, sources[k] + i * sizeof(T), sizeof(T));
      return static_cast<wide>(value);
    };
    wide total = element(0);
    for (std::size_t k = 1; k < sources.size(); ++k)
      total = static_cast<wide>(operation(total, element(k)));
    if constexpr (requires { operation.finish(total, 1); })
      if (finish_ranks > 0) total = static_cast<wide>(operation.finish(total, finish_ranks));
    const T rounded = static_cast<T>(total);
    std::memcpy(result + i * sizeof(T), &rounded, sizeof(T));
  }
}

template <class T, class Operation>
subject made() {
  const Operation operation{};
  return {&test::kind_of_element<T>, allfold::type_name<Operation>(), test::range_for<Operation, T>,
          requires(allfold::accumulator<T> total){operation.finish(total, 1);
}
, std::same_as<Operation, allfold::minimum> || std::same_as<Operation, allfold::maximum>,
    &folded<T, Operation>, &plainly_folded<T, Operation>
};  // namespace
}

template <class T>
inline constexpr bool is_number = std::floating_point<T> || allfold::half_precision<T>;

/// Makes some elements NaN, with any sign and payload, infinite or zero, with any sign.
template <class T>
void spoil(std::byte* elements, std::size_t count, random_bits& random) {
  if constexpr (is_number<T> && !std::same_as<T, long double>) {
    using bits =
        std::conditional_t<sizeof(T) == 2, std::uint16_t,
                           std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;
    const T infinity = static_cast<T>(std::numeric_limits<float>::infinity());
    bits exponent;
    std::memcpy(&exponent, &infinity, sizeof(T));
    const auto sign = static_cast<bits>(bits{1} << (8 * sizeof(T) - 1));
    const auto quiet = static_cast<bits>((exponent >> 1) & ~exponent);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t choice = random();
      auto value = static_cast<bits>(choice >> 3);
      switch (choice % 8) {
        case 0:
          value = static_cast<bits>(value | exponent | quiet);
          break;
        case 1:
          value = static_cast<bits>((value & sign) | exponent);
          break;
        case 2:
          value = static_cast<bits>(value & sign);
          break;
        default:
          continue;
      }
      std::memcpy(elements + i * sizeof(T), &value, sizeof(T));
    }
  }
}
using spoiler = void (*)(std::byte*, std::size_t, random_bits&);

/// One call of fold with `sources` sources, `targets` targets and `count` elements. Every buffer
/// begins at an offset of its own; some targets are sources.
void try_fold(const subject& it, spoiler spoil_values, int sources, int targets, std::size_t count,
              random_bits& random, test::failures& list) {
  constexpr std::size_t slack = 8;
  const std::size_t size = it.kind->size;
  const int finish_ranks = it.finishes && sources > 1 && random.below(2) == 0
                               ? 1 + static_cast<int>(random.below(9))
                               : 0;
  std::vector<bytes> buffers(static_cast<std::size_t>(sources + targets));
  byte_sources from;
  for (int k = 0; k < sources; ++k) {
    bytes& mine = buffers[static_cast<std::size_t>(k)];
    mine.resize((count + slack) * size);
    it.kind->fill(mine.data(), count + slack, random, it.values);
    if (it.selects) spoil_values(mine.data(), count + slack, random);
    from.push_back(mine.data() + random.below(slack) * size);
  }
  byte_targets to;
  std::vector<char> is_target(buffers.size(), false);
  for (int k = 0; k < targets; ++k) {
    const auto alias = random.below(static_cast<std::uint64_t>(2 * sources));
    if (alias < from.size() && !is_target[alias]) {
      is_target[alias] = true;
      to.push_back(buffers[alias].data() + (from[alias] - buffers[alias].data()));
      continue;
    }
    bytes& mine = buffers[static_cast<std::size_t>(sources + k)];
    mine.assign((count + slack) * size, std::byte{0xa5});
    to.push_back(mine.data() + random.below(slack) * size);
  }

  std::vector<bytes> expected = buffers;
  bytes result(count * size);
  if (sources == 1)
    std::copy_n(from[0], count * size, result.begin());  // no arithmetic, and so no rounding
  else
    it.plainly(from, result.data(), count, finish_ranks);
  for (const std::byte* each : to)
    for (std::size_t k = 0; k < buffers.size(); ++k) {
      const auto offset = each - buffers[k].data();
      if (0 <= offset && offset < static_cast<long>(buffers[k].size()))
        std::copy(result.begin(), result.end(), expected[k].begin() + offset);
    }
  it.fold(from, to, count, finish_ranks);

  for (std::size_t k = 0; k < buffers.size(); ++k) {
    const std::size_t all = buffers[k].size() / size;
    const std::size_t first =
        test::first_difference(*it.kind, buffers[k].data(), expected[k].data(), all);
    if (first != all)
      list.add(std::string{it.kind->name} + ", " + std::string{it.operation} + ": " +
               std::to_string(sources) + " sources, " + std::to_string(targets) + " targets, " +
               std::to_string(count) + " elements, finish " + std::to_string(finish_ranks) +
               ": buffer " + std::to_string(k) + " is wrong at element " + std::to_string(first));
  }
}

/// More than three blocks, however wide the registers are.
std::size_t three_blocks(const test::element_kind& kind) { return 3 * 256 / kind.size + 3; }

template <class T, class Operation>
void try_any_number(test::failures& list) {
  if constexpr (test::suits<Operation, T>) {
    const subject it = made<T, Operation>();
    random_bits random{sizeof(T)};
    for (int sources = 1; sources <= most; ++sources)
      for (int targets = 1; targets <= most; ++targets)
        for (int i = 0; i < 3; ++i) {
          const std::size_t limit = i == 0 ? 4 : three_blocks(*it.kind);
          try_fold(it, &spoil<T>, sources, targets, random.below(limit + 1), random, list);
        }
  }
}

template <class Types, class... Operation>
void try_types(test::types<Operation...>, test::failures& list) {
  test::for_each(Types{}, [&](auto element) {
    (try_any_number<typename decltype(element)::of, Operation>(list), ...);
  });
}

using library_operations = test::types<allfold::sum, allfold::product, allfold::minimum,
                                       allfold::maximum, allfold::average>;
using own_operations = test::types<std::plus<>, std::multiplies<>, test::twice_and, test::last_wins,
                                   test::sum_doubled>;

}  // namespace

TEST_CASE("fold of integers, any number of sources and targets") {
  test::failures list;
  try_types<test::integer_types>(library_operations{}, list);
  CHECK_NONE(list);
}

TEST_CASE("fold of floats, any number of sources and targets") {
  test::failures list;
  try_types<test::floating_types>(library_operations{}, list);
  try_types<test::complex_types>(library_operations{}, list);
  CHECK_NONE(list);
}

TEST_CASE("fold of 16-bit floats, any number of sources and targets") {
  test::failures list;
  try_types<test::half_types>(library_operations{}, list);
  CHECK_NONE(list);
}

TEST_CASE("fold of structs, any number of sources and targets") {
  test::failures list;
  try_types<test::user_types>(library_operations{}, list);
  CHECK_NONE(list);
}

TEST_CASE("fold with a user's operations") {
  test::failures list;
  try_types<test::types<int, float, allfold::bfloat16>>(own_operations{}, list);
  try_types<test::types<short, std::complex<double>, test::pack3>>(
      test::types<std::plus<>, test::last_wins>{}, list);
  CHECK_NONE(list);
}

TEST_CASE("fold of every count up to three blocks") {
  test::failures list;
  const auto try_counts = [&](const subject& it, spoiler spoil_values) {
    random_bits random{3};
    for (std::size_t count = 0; count <= three_blocks(*it.kind); ++count)
      for (const int sources : {2, 3, 4})
        for (const int targets : {1, 2, 3})
          try_fold(it, spoil_values, sources, targets, count, random, list);
  };
  try_counts(made<float, allfold::sum>(), &spoil<float>);
  try_counts(made<allfold::half, allfold::average>(), &spoil<allfold::half>);
  try_counts(made<unsigned char, allfold::maximum>(), &spoil<unsigned char>);
  try_counts(made<test::pack12, allfold::sum>(), &spoil<test::pack12>);
  CHECK_NONE(list);
}

TEST_CASE_TEMPLATE("fold of one source copies every bit pattern", T, allfold::half,
                   allfold::bfloat16) {
  std::vector<T> source(65536), one(65536), other(65536);
  for (std::size_t i = 0; i < source.size(); ++i) source[i].bits = static_cast<std::uint16_t>(i);
  const T* const from = source.data();
  T* const to[] = {one.data(), other.data()};
  allfold::fold<T>(&from, 1, to, 2, source.size(), allfold::sum{}, 0);
  CHECK(std::memcmp(one.data(), from, 2 * source.size()) == 0);
  CHECK(std::memcmp(other.data(), from, 2 * source.size()) == 0);
}

TEST_CASE_TEMPLATE("fold decodes and encodes every 16-bit pattern as its type does", T,
                   allfold::half, allfold::bfloat16) {
  // Each pattern with zero, with itself, and with a small number that makes it round.
  std::size_t different = 0;
  for (const float addend : {0.0f, -0.0f, 1.0f, 0x1p-24f, 0x1.004p-3f, 3.5f}) {
    std::vector<T> source(65536), other(65536, static_cast<T>(addend)), found(65536);
    for (std::size_t i = 0; i < source.size(); ++i) source[i].bits = static_cast<std::uint16_t>(i);
    if (addend == 1.0f) other = source;
    const T* const from[] = {source.data(), other.data()};
    T* const to = found.data();
    allfold::fold<T>(from, 2, &to, 1, source.size(), allfold::sum{}, 0);
    for (std::size_t i = 0; i < source.size(); ++i) {
      const T sum{static_cast<float>(source[i]) + static_cast<float>(other[i])};
      different += sum.bits != found[i].bits;
    }
  }
  CHECK(different == 0);
}

TEST_CASE("copy leaves the source alone and skips it as a target") {
  const std::vector<int> before{1, 2, 3, 4, 5};
  std::vector<int> source = before, other(5), third(5);
  int* const targets[] = {other.data(), source.data(), third.data()};
  allfold::copy(source.data(), targets, 3, 4);
  CHECK(source == before);
  CHECK(other == std::vector{1, 2, 3, 4, 0});
  CHECK(third == other);
  allfold::copy<int>(nullptr, targets, 3, 0);
  allfold::copy(source.data(), targets, 0, 5);
  CHECK(third == other);
}

TEST_CASE("a complete fold of one source is finished") {
  const std::vector<float> source{1, 2, 3, 4, 5, 6, 7};
  std::vector<float> result(7);
  const float* const from = source.data();
  float* const to = result.data();
  allfold::fold<float>(&from, 1, &to, 1, 7, test::sum_doubled{}, 1);
  CHECK(result == std::vector<float>{2, 4, 6, 8, 10, 12, 14});
}
