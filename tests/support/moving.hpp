// Makes jobs of the collectives that only move elements.
#pragma once

#include <allfold/collective/all_gather.hpp>
#include <allfold/collective/all_to_all.hpp>
#include <allfold/collective/broadcast.hpp>
#include <allfold/collective/gather.hpp>
#include <allfold/collective/scatter.hpp>
#include <numeric>
#include <string_view>
#include <vector>

#include "support/jobs.hpp"

namespace test {

/// An algorithm and an element type, as far as a job needs them.
struct moving {
  std::string_view collective, algorithm;
  const element_kind* kind;
  void (*call)(world&, const arguments&);
};

namespace detail {

template <class T>
struct spans {
  explicit spans(const arguments& with)
      : input{reinterpret_cast<T*>(with.input), with.input_count},
        output{reinterpret_cast<T*>(with.output), with.output_count} {}
  /// A rank's own part of a buffer that holds all ranks' elements.
  operand<T> own(operand<T> all, world& ranks, const arguments& with) const {
    const auto rank = static_cast<std::size_t>(ranks.rank());
    if (with.counts.empty()) {
      const std::size_t share = all.size() / static_cast<std::size_t>(ranks.size());
      return all.subspan(share * rank, share);
    }
    const auto before = with.counts.first(rank);
    return all.subspan(std::accumulate(before.begin(), before.end(), std::size_t{0}),
                       with.counts[rank]);
  }
  operand<T> input, output;
};

template <class Algorithm, class T>
void call_broadcast(world& ranks, const arguments& with) {
  const spans<T> it{with};
  if (with.in_place)
    allfold::broadcast<Algorithm>(ranks, it.input, with.root);
  else
    allfold::broadcast<Algorithm>(ranks, operand<const T>{it.input}, it.output, with.root);
}

/// In place, `output` holds the rank's own elements already.
template <class Algorithm, class T>
void call_all_gather(world& ranks, const arguments& with) {
  const spans<T> it{with};
  const operand<const T> input =
      with.in_place ? it.own(it.output, ranks, with) : operand<T>{it.input};
  if (!with.counts.empty())
    allfold::all_gather<Algorithm>(ranks, input, it.output, with.counts);
  else if (with.in_place)
    allfold::all_gather<Algorithm>(ranks, it.output);
  else
    allfold::all_gather<Algorithm>(ranks, input, it.output);
}

/// In place, the root's own elements stay in `input`.
template <class Algorithm, class T>
void call_scatter(world& ranks, const arguments& with) {
  const spans<T> it{with};
  const bool stays = with.in_place && ranks.rank() == with.root;
  const operand<T> output = stays ? it.own(it.input, ranks, with) : it.output;
  const operand<const T> input = it.input;
  if (with.counts.empty())
    allfold::scatter<Algorithm>(ranks, input, output, with.root);
  else
    allfold::scatter<Algorithm>(ranks, input, output, with.counts, with.root);
}

/// In place, the root's own elements are in `output` already.
template <class Algorithm, class T>
void call_gather(world& ranks, const arguments& with) {
  const spans<T> it{with};
  const bool stays = with.in_place && ranks.rank() == with.root;
  const operand<const T> input = stays ? it.own(it.output, ranks, with) : it.input;
  if (with.counts.empty())
    allfold::gather<Algorithm>(ranks, input, it.output, with.root);
  else
    allfold::gather<Algorithm>(ranks, input, it.output, with.counts, with.root);
}

template <class Algorithm, class T>
void call_all_to_all(world& ranks, const arguments& with) {
  const spans<T> it{with};
  if (with.in_place)
    allfold::all_to_all<Algorithm>(ranks, it.input);
  else
    allfold::all_to_all<Algorithm>(ranks, operand<const T>{it.input}, it.output);
}

inline job begun(const moving& what, int ranks, std::size_t count, bool in_place) {
  job it{what.collective, what.algorithm, {}, what.kind, what.call, count, 0, in_place, {}, {}};
  it.ranks.resize(static_cast<std::size_t>(ranks));
  return it;
}
inline bytes random_elements(const element_kind& kind, std::size_t count, random_bits& random) {
  bytes made(count * kind.size);
  kind.fill(made.data(), count, random, range::all);
  return made;
}
/// Memory that is to be written, or not to be touched.
inline bytes unwritten(const element_kind& kind, std::size_t count) {
  return bytes(count * kind.size, std::byte{0xa5});
}

/// Where each rank's elements lie, in bytes, and how many bytes they are.
class layout {
 public:
  /// With `counts` empty every rank has `share` elements.
  layout(const element_kind& kind, std::size_t ranks, std::size_t share,
         const std::vector<std::size_t>& counts)
      : size_{kind.size} {
    for (std::size_t rank = 0; rank < ranks; ++rank)
      begins_.push_back(begins_.back() + (counts.empty() ? share : counts[rank]));
  }
  std::size_t count(std::size_t rank) const { return begins_[rank + 1] - begins_[rank]; }
  std::size_t count() const { return begins_.back(); }
  /// Copies the rank's elements out of a buffer that holds all.
  bytes part(const bytes& all, std::size_t rank) const {
    return {all.begin() + at(rank), all.begin() + at(rank + 1)};
  }
  /// Copies the rank's elements into a buffer that holds all.
  void put(bytes& all, std::size_t rank, const bytes& its) const {
    std::copy(its.begin(), its.end(), all.begin() + at(rank));
  }

 private:
  long at(std::size_t rank) const { return static_cast<long>(begins_[rank] * size_); }

  std::size_t size_;
  std::vector<std::size_t> begins_{0};
};

}  // namespace detail

template <class Algorithm, class T>
moving broadcast_by() {
  return {"broadcast", allfold::type_name<Algorithm>(), &kind_of_element<T>,
          &detail::call_broadcast<Algorithm, T>};
}
template <class Algorithm, class T>
moving all_gather_by() {
  return {"all_gather", allfold::type_name<Algorithm>(), &kind_of_element<T>,
          &detail::call_all_gather<Algorithm, T>};
}
template <class Algorithm, class T>
moving scatter_by() {
  return {"scatter", allfold::type_name<Algorithm>(), &kind_of_element<T>,
          &detail::call_scatter<Algorithm, T>};
}
template <class Algorithm, class T>
moving gather_by() {
  return {"gather", allfold::type_name<Algorithm>(), &kind_of_element<T>,
          &detail::call_gather<Algorithm, T>};
}
template <class Algorithm, class T>
moving all_to_all_by() {
  return {"all_to_all", allfold::type_name<Algorithm>(), &kind_of_element<T>,
          &detail::call_all_to_all<Algorithm, T>};
}

/// Out of place, ranks other than the root have an input that must be left alone, or none.
inline job broadcast_job(const moving& what, int ranks, std::size_t count, int root, bool in_place,
                         random_bits& random) {
  job it = detail::begun(what, ranks, count, in_place);
  it.root = root;
  const bytes sent = detail::random_elements(*what.kind, count, random);
  for (int rank = 0; rank < ranks; ++rank) {
    memory& mine = it.ranks[static_cast<std::size_t>(rank)];
    if (rank == root)
      mine.input = sent;
    else if (in_place || random.below(2) == 0)
      mine.input = detail::unwritten(*what.kind, count);
    if (!in_place) mine.output = detail::unwritten(*what.kind, count);
    (in_place ? mine.input_after : mine.output_after) = sent;
  }
  return it;
}

/// Every rank has counts[rank] elements, or `share` if there are no counts.
inline job all_gather_job(const moving& what, int ranks, std::size_t share,
                          const std::vector<std::size_t>& counts, bool in_place,
                          random_bits& random) {
  job it = detail::begun(what, ranks, share, in_place);
  it.counts = counts;
  const detail::layout parts{*what.kind, it.ranks.size(), share, counts};
  const bytes all = detail::random_elements(*what.kind, parts.count(), random);
  for (std::size_t rank = 0; rank < it.ranks.size(); ++rank) {
    memory& mine = it.ranks[rank];
    mine.output = detail::unwritten(*what.kind, parts.count());
    mine.output_after = all;
    if (in_place)
      parts.put(mine.output, rank, parts.part(all, rank));
    else
      mine.input = parts.part(all, rank);
  }
  return it;
}

inline job scatter_job(const moving& what, int ranks, std::size_t share,
                       const std::vector<std::size_t>& counts, int root, bool in_place,
                       random_bits& random) {
  job it = detail::begun(what, ranks, share, in_place);
  it.counts = counts;
  it.root = root;
  const detail::layout parts{*what.kind, it.ranks.size(), share, counts};
  const bytes all = detail::random_elements(*what.kind, parts.count(), random);
  for (std::size_t rank = 0; rank < it.ranks.size(); ++rank) {
    memory& mine = it.ranks[rank];
    const bool is_root = static_cast<int>(rank) == root;
    if (is_root)
      mine.input = all;
    else if (random.below(2) == 0)
      mine.input = detail::unwritten(*what.kind, 5);  // of any length, since it is not used
    if (is_root && in_place) continue;
    mine.output = detail::unwritten(*what.kind, parts.count(rank));
    mine.output_after = parts.part(all, rank);
  }
  return it;
}

inline job gather_job(const moving& what, int ranks, std::size_t share,
                      const std::vector<std::size_t>& counts, int root, bool in_place,
                      random_bits& random) {
  job it = detail::begun(what, ranks, share, in_place);
  it.counts = counts;
  it.root = root;
  const detail::layout parts{*what.kind, it.ranks.size(), share, counts};
  const bytes all = detail::random_elements(*what.kind, parts.count(), random);
  for (std::size_t rank = 0; rank < it.ranks.size(); ++rank) {
    memory& mine = it.ranks[rank];
    const bool is_root = static_cast<int>(rank) == root;
    if (!is_root || !in_place) mine.input = parts.part(all, rank);
    if (is_root) {
      mine.output = detail::unwritten(*what.kind, parts.count());
      mine.output_after = all;
      if (in_place) parts.put(mine.output, rank, parts.part(all, rank));
    } else if (random.below(2) == 0) {
      mine.output = detail::unwritten(*what.kind, 5);
    }
  }
  return it;
}

/// Every rank gets `share` elements of every rank.
inline job all_to_all_job(const moving& what, int ranks, std::size_t share, bool in_place,
                          random_bits& random) {
  job it = detail::begun(what, ranks, share, in_place);
  const detail::layout parts{*what.kind, it.ranks.size(), share, {}};
  for (memory& each : it.ranks) {
    each.input = detail::random_elements(*what.kind, parts.count(), random);
    if (!in_place) each.output = detail::unwritten(*what.kind, parts.count());
  }
  for (std::size_t rank = 0; rank < it.ranks.size(); ++rank) {
    memory& mine = it.ranks[rank];
    bytes after = mine.input;
    for (std::size_t peer = 0; peer < it.ranks.size(); ++peer)
      parts.put(after, peer, parts.part(it.ranks[peer].input, rank));
    (in_place ? mine.input_after : mine.output_after) = std::move(after);
  }
  return it;
}

/// Counts per rank: some ranks, or all, have none.
inline std::vector<std::vector<std::size_t>> awkward_counts_per_rank(int ranks,
                                                                     random_bits& random) {
  const auto n = static_cast<std::size_t>(ranks);
  std::vector<std::vector<std::size_t>> all;
  all.emplace_back(n, 0);
  all.emplace_back(n, 3);
  all.emplace_back(n, 0).front() = 100;
  all.emplace_back(n, 0).back() = 101;
  for (const std::size_t most : {3u, 300u})
    for (std::size_t& each : all.emplace_back(n))
      each = random.below(3) == 0 ? 0 : random.below(most + 1);
  return all;
}

}  // namespace test
