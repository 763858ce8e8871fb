// How several values of one thing become one.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

namespace allfold {

/// How values are folded: those of a rank over time, then those of all ranks.
enum class how : std::uint8_t {
  mean,  ///< by weight, over all values of all ranks
  sum,
  max,
  min,
  last  ///< a rank's last value; the mean of those over the ranks
};

/// As it is spelled.
constexpr std::string_view name_of(how kind) {
  constexpr std::string_view names[] = {"mean", "sum", "max", "min", "last"};
  return names[static_cast<std::size_t>(kind)];
}

namespace detail {

/// Some values, folded.
struct tally {
  how kind = how::mean;
  double value = 0;   ///< of a mean: the sum of the values, each times its weight
  double weight = 0;  ///< of a mean or a last: the sum of the weights

  /// NaN stays NaN, also under max and min.
  void fold(const tally& other) {
    if (kind == how::max) {
      if (!(std::isnan(value) || value > other.value)) value = other.value;
    } else if (kind == how::min) {
      if (!(std::isnan(value) || value < other.value)) value = other.value;
    } else {
      value += other.value;
      weight += other.weight;
    }
  }
  double result() const { return kind == how::mean || kind == how::last ? value / weight : value; }
};

/// Says which line only one of two ranks' texts has.
inline std::string missing_line(const std::string& one, int one_rank, const std::string& other,
                                int other_rank) {
  const auto lines_of = [](const std::string& text) {
    std::istringstream in{text};
    std::set<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.insert(line);
    return lines;
  };
  const auto say = [](const std::string& line, int without, int with) {
    return "rank " + std::to_string(without) + " has no " + line + ", which rank " +
           std::to_string(with) + " has";
  };
  const auto ones = lines_of(one), others = lines_of(other);
  for (const std::string& line : ones)
    if (!others.contains(line)) return say(line, other_rank, one_rank);
  for (const std::string& line : others)
    if (!ones.contains(line)) return say(line, one_rank, other_rank);
  return "their names differ";
}

}  // namespace detail
}  // namespace allfold
