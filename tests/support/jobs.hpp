// Runs collectives on the ranks of a test::world and compares every byte of their memory with what
// it must be.
#pragma once

#include <algorithm>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/elements.hpp"
#include "support/failures.hpp"
#include "support/most_ranks.hpp"
#include "support/world.hpp"

namespace test {

/// The memory of one rank that a collective works on, and how it is called.
struct arguments {
  std::byte* input;
  std::size_t input_count;
  std::byte* output;
  std::size_t output_count;
  std::span<const std::size_t> counts;  ///< per rank; empty where all have as many
  int root;
  bool in_place;
};

/// One rank's memory before and after a collective. What is not to change is empty afterwards.
struct memory {
  bytes input, output;
  bytes input_after, output_after;
};

/// One collective on all ranks.
struct job {
  std::string_view collective, algorithm, operation;
  const element_kind* kind;
  void (*call)(world&, const arguments&);
  std::size_t count = 0;
  int root = 0;
  bool in_place = false;
  std::vector<std::size_t> counts;
  std::vector<memory> ranks;

  std::string name() const {
    return std::string{collective} + "<" + std::string{algorithm} + ">(" + std::to_string(count) +
           " x " + std::string{kind->name} + ", " + std::string{operation} + ", root " +
           std::to_string(root) + (in_place ? ", in place" : ", out of place") + ") on " +
           std::to_string(ranks.size()) + " ranks";
  }
};

/// Element counts that find mistakes at the ends of things: none, fewer than ranks, odd, a prime,
/// around what fits a slot, around what makes chunks of whole cache lines.
inline std::vector<std::size_t> awkward_counts(int ranks, const element_kind& kind) {
  const auto n = static_cast<std::size_t>(ranks);
  const std::size_t small = world::small_bytes / kind.size;
  const std::size_t line = kind.size >= 64 ? 1 : 64 / kind.size;
  std::vector<std::size_t> counts{0,         1,     2,         n - 1,        17,  n * line + 1,
                                  small - 1, small, small + 1, small + line, 1009};
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

/// The same for elements of which every rank has as many.
inline std::vector<std::size_t> awkward_shares(int ranks, const element_kind& kind) {
  const std::size_t line = kind.size >= 64 ? 1 : 64 / kind.size;
  return {0, 1, 2, static_cast<std::size_t>(ranks), 17, 2 * line - 1, 2 * line, 2 * line + 1, 211};
}

namespace detail {

/// A buffer with something before and behind it that must not change. It begins `shift` elements
/// behind a cache line and ends, for an even `number`, where its allocation ends.
class guarded {
 public:
  guarded(const element_kind& kind, const bytes& content, std::size_t shift, bool tail)
      : front_{shift * kind.size},
        size_{content.size()},
        memory_(front_ + size_ + (tail ? 3 * kind.size : 0), guard) {
    std::copy(content.begin(), content.end(), memory_.begin() + static_cast<long>(front_));
    place_.emplace(memory_);
  }
  guarded(const guarded&) = delete;
  guarded& operator=(const guarded&) = delete;

  /// Where the collective works.
  std::byte* data() { return place_->data() + front_; }
  /// What the collective has left; on devices, once it has been fetched.
  const std::byte* found() const { return memory_.data() + front_; }
  void fetch(world& ranks) { place_->fetch(ranks); }
  bool intact() const {
    const auto is_guard = [](std::byte it) { return it == guard; };
    return std::all_of(memory_.begin(), memory_.begin() + static_cast<long>(front_), is_guard) &&
           std::all_of(memory_.begin() + static_cast<long>(front_ + size_), memory_.end(),
                       is_guard);
  }

 private:
  static constexpr std::byte guard{0xc3};

  std::size_t front_;
  std::size_t size_;
  bytes memory_;
  std::optional<workplace> place_;
};

inline std::string in_hex(const std::byte* value, std::size_t size) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += digits[std::to_integer<std::size_t>(value[i]) >> 4];
    text += digits[std::to_integer<std::size_t>(value[i]) & 15u];
  }
  return text;
}

inline void compare(const job& it, int rank, const char* buffer, const guarded& memory,
                    const bytes& expected, failures& list) {
  const auto where = [&] { return it.name() + ", rank " + std::to_string(rank) + ", " + buffer; };
  const element_kind& kind = *it.kind;
  const std::size_t count = expected.size() / kind.size;
  const std::size_t first = first_difference(kind, memory.found(), expected.data(), count);
  if (first != count)
    list.add(where() + ": element " + std::to_string(first) + " is " +
             in_hex(memory.found() + first * kind.size, kind.value_bytes) + " instead of " +
             in_hex(expected.data() + first * kind.size, kind.value_bytes));
  if (!memory.intact()) list.add(where() + ": memory beside it was written");
}

}  // namespace detail

/// One rank's part of a job, the `number`-th of its kind.
inline void carry_out(world& ranks, const job& it, std::size_t number, failures& list) {
  const auto rank = static_cast<std::size_t>(ranks.rank());
  const memory& mine = it.ranks[rank];
  const element_kind& kind = *it.kind;
  detail::guarded input{kind, mine.input, (rank + number) % 5, number % 2 == 0};
  detail::guarded output{kind, mine.output, (2 * rank + number / 5) % 5, number % 3 == 0};
  it.call(ranks, {input.data(), mine.input.size() / kind.size, output.data(),
                  mine.output.size() / kind.size, it.counts, it.root, it.in_place});
  input.fetch(ranks);
  output.fetch(ranks);
  const auto after = [](const bytes& changed, const bytes& before) -> const bytes& {
    return changed.empty() ? before : changed;
  };
  detail::compare(it, ranks.rank(), "input", input, after(mine.input_after, mine.input), list);
  detail::compare(it, ranks.rank(), "output", output, after(mine.output_after, mine.output), list);
}

/// Carries out the jobs, one after the other with nothing in between, on `ranks` ranks. If `seed`
/// is not 0, every rank yields for a random while before some of them.
inline void carry_out(const std::vector<job>& jobs, int ranks, failures& list,
                      std::uint64_t seed = 0) {
  try {
    run_world(ranks, [&](world& mine) {
      random_bits random{seed * 1000 + static_cast<std::uint64_t>(mine.rank())};
      for (std::size_t number = 0; number < jobs.size(); ++number) {
        const std::uint64_t pauses = seed != 0 && random.below(4) == 0 ? random.below(64) : 0;
        for (std::uint64_t i = 0; i < pauses; ++i) std::this_thread::yield();
        carry_out(mine, jobs[number], number, list);
      }
    });
  } catch (const std::exception& thrown) {
    list.add(std::to_string(ranks) + " ranks: " + thrown.what());
  }
}

}  // namespace test
