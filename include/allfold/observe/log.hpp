// Numbers of a training, folded over all ranks: loss, accuracy, samples.
#pragma once

#include <allfold/collective/all_gather.hpp>
#include <allfold/hash.hpp>
#include <allfold/observe/tally.hpp>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace allfold {

/// A number by its name.
struct metric {
  std::string name;
  double value = 0;
};

namespace detail {

/// Every rank's numbers, rank r's from r · mine.size() on. Every rank gives as many.
template <communicator World>
std::vector<std::uint64_t> gather_rows(World& world, std::span<const std::uint64_t> mine,
                                       std::source_location where) {
  const auto ranks = static_cast<std::size_t>(world.size());
  std::vector<std::uint64_t> all(ranks * mine.size());
  if constexpr (World::space == memory_space::host) {
    all_gather(world, mine, all, where);
  } else {
    for (std::size_t i = 0; i < mine.size(); ++i) {
      const std::vector<std::uint64_t> column = world.gather_numbers(mine[i], where);
      for (std::size_t rank = 0; rank < ranks; ++rank) all[rank * mine.size() + i] = column[rank];
    }
  }
  return all;
}

/// Every rank's text, on every rank. A text must not hold the character 0.
template <communicator World>
std::vector<std::string> gather_texts(World& world, const std::string& mine,
                                      std::source_location where) {
  const std::uint64_t size = mine.size();
  std::uint64_t longest = 0;
  for (const std::uint64_t each : gather_rows(world, std::span{&size, 1}, where))
    longest = std::max(longest, each);
  std::vector<std::uint64_t> words(static_cast<std::size_t>(longest / 8 + 1));
  std::memcpy(words.data(), mine.data(), mine.size());
  const std::vector<std::uint64_t> rows = gather_rows(world, words, where);
  std::vector<std::string> all;
  for (std::size_t at = 0; at < rows.size(); at += words.size())
    all.emplace_back(reinterpret_cast<const char*>(&rows[at]));  // ends at the first 0
  return all;
}

/// Throws what every rank throws when two of them disagree.
template <class World>
[[noreturn]] void disagree(World& world, std::string_view what, std::source_location where,
                           const std::string& text) {
  throw mismatch_error{"allfold: rank " + std::to_string(world.rank()) + ", " + std::string{what} +
                       " at " + place_of(where) + ": " + text};
}

}  // namespace detail

/// Folds one value of each rank, in rank order; every rank gets the same bits. Every rank calls it,
/// with the same `kind`. A NaN on any rank gives NaN. Throws what collectives throw: a
/// mismatch_error where ranks call something else or ask for another `kind`, a timeout_error or
/// rank_lost_error naming the rank that does not come.
template <communicator World>
double aggregate(World& world, double value, how kind = how::mean,
                 std::source_location where = std::source_location::current()) {
  const std::uint64_t mine[] = {static_cast<std::uint64_t>(kind),
                                std::bit_cast<std::uint64_t>(value)};
  const std::vector<std::uint64_t> all = detail::gather_rows(world, mine, where);
  detail::tally total{kind, std::bit_cast<double>(all[1]), 1};
  for (std::size_t rank = 1; 2 * rank < all.size(); ++rank) {
    if (all[2 * rank] != all[0])
      detail::disagree(world, "aggregate", where,
                       "rank " + std::to_string(rank) + " asks for the " +
                           std::string{name_of(static_cast<how>(all[2 * rank]))} +
                           " and rank 0 for the " + std::string{name_of(static_cast<how>(all[0]))});
    total.fold({kind, std::bit_cast<double>(all[2 * rank + 1]), 1});
  }
  return total.result();
}

/// Prints values on rank 0, a line for each step: "step 100: accuracy 0.87, loss 0.412". A sink of
/// `metrics`. The stream must outlive it.
class rank_log {
 public:
  explicit rank_log(std::ostream& out) : out_{&out} {}

  /// Prints, whatever the rank. Throws allfold::error if the stream fails.
  void operator()(std::int64_t step, std::span<const metric> values) const {
    std::string line = "step " + std::to_string(step);
    for (const metric& each : values) {
      char number[32];
      std::snprintf(number, sizeof(number), "%.6g", each.value);
      line += (&each == values.data() ? ": " : ", ") + each.name + ' ' + number;
    }
    *out_ << line + '\n';
    if (!out_->flush()) throw error{"allfold: rank_log: can't write step " + std::to_string(step)};
  }

  /// Folds one value of each rank as `aggregate` does, and prints it on rank 0. Every rank calls it
  /// and gets the result.
  template <communicator World>
  double value(World& world, std::int64_t step, std::string_view name, double mine,
               how kind = how::mean,
               std::source_location where = std::source_location::current()) const {
    const metric result{std::string{name}, aggregate(world, mine, kind, where)};
    if (world.rank() == 0) (*this)(step, std::span{&result, 1});
    return result.value;
  }

 private:
  std::ostream* out_;
};

/// Values that a rank collects by name between two flushes, and that a flush folds over all ranks.
/// Used by the rank's thread.
class metrics {
 public:
  /// Called on rank 0 as sink(step, values), the values ordered by name.
  using sink = std::function<void(std::int64_t, std::span<const metric>)>;

  /// Adds a value to a name. `weight` is for how::mean: the number of samples, for example, that
  /// the value is the mean of; 0 from a rank that had none. Nothing is communicated. Throws
  /// usage_error if the name has been given another `kind` since the last flush.
  void add(std::string_view name, double value, how kind = how::mean, double weight = 1) {
    const detail::tally it = kind == how::mean ? detail::tally{kind, value * weight, weight}
                                               : detail::tally{kind, value, 1};
    const auto found = tallies_.find(name);
    if (found == tallies_.end()) {
      tallies_.emplace(name, it);
      return;
    }
    if (found->second.kind != kind)
      throw usage_error{"allfold: metrics: " + std::string{name} + " is the " +
                        std::string{name_of(found->second.kind)} + " so far, and now the " +
                        std::string{name_of(kind)}};
    if (kind == how::last)
      found->second = it;
    else
      found->second.fold(it);
  }

  /// Hands the values of each flush on rank 0 to `next` as well. Other ranks keep it and never call
  /// it. Pass std::ref of what must not be copied.
  void to(sink next) { sinks_.push_back(std::move(next)); }

  /// Folds all names over all ranks at once, hands the values to rank 0's sinks, forgets them, and
  /// returns them, ordered by name and with the same bits on every rank. Every rank calls it, with
  /// the same step, having added the same names. Throws on every rank a mismatch_error that says
  /// which rank lacks which name or is at another step; what collectives throw; and on rank 0 what
  /// a sink throws.
  template <communicator World>
  std::vector<metric> flush(World& world, std::int64_t step,
                            std::source_location where = std::source_location::current()) {
    check_agreement(world, step, where);
    std::vector<std::uint64_t> mine;
    for (const auto& [name, its] : tallies_) {
      mine.push_back(std::bit_cast<std::uint64_t>(its.value));
      mine.push_back(std::bit_cast<std::uint64_t>(its.weight));
    }
    const std::vector<std::uint64_t> all = detail::gather_rows(world, mine, where);
    std::vector<metric> values;
    for (const auto& [name, its] : tallies_) {
      const std::size_t column = 2 * values.size();
      const auto of = [&](std::size_t row) {
        return detail::tally{its.kind, std::bit_cast<double>(all[row + column]),
                             std::bit_cast<double>(all[row + column + 1])};
      };
      detail::tally total = of(0);
      for (std::size_t row = mine.size(); row < all.size(); row += mine.size()) total.fold(of(row));
      values.push_back({name, total.result()});
    }
    tallies_.clear();
    if (world.rank() == 0)
      for (const sink& each : sinks_) each(step, values);
    return values;
  }

 private:
  /// "loss, mean", a line for each name.
  std::string described() const {
    std::string text;
    for (const auto& [name, its] : tallies_)
      text += name + ", " + std::string{name_of(its.kind)} + '\n';
    return text;
  }

  /// Every rank compares all ranks with rank 0, so that all come to the same conclusion.
  template <class World>
  void check_agreement(World& world, std::int64_t step, std::source_location where) const {
    const std::string text = described();
    const std::uint64_t mine[] = {static_cast<std::uint64_t>(step), hash_of(text)};
    const std::vector<std::uint64_t> all = detail::gather_rows(world, mine, where);
    for (std::size_t rank = 1; 2 * rank < all.size(); ++rank) {
      if (all[2 * rank] != all[0])
        detail::disagree(world, "metrics", where,
                         "rank " + std::to_string(rank) + " flushes step " +
                             std::to_string(static_cast<std::int64_t>(all[2 * rank])) +
                             " and rank 0 step " +
                             std::to_string(static_cast<std::int64_t>(all[0])));
      if (all[2 * rank + 1] == all[1]) continue;
      const std::vector<std::string> texts = detail::gather_texts(world, text, where);
      detail::disagree(world, "metrics", where,
                       detail::missing_line(texts[0], 0, texts[rank], static_cast<int>(rank)));
    }
  }

  std::map<std::string, detail::tally, std::less<>> tallies_;
  std::vector<sink> sinks_;
};

}  // namespace allfold
