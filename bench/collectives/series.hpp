// One row of the table: what is measured, and what came out.
#pragma once

#include "names.hpp"

#include <optional>
#include <string>
#include <vector>

namespace bench {

/// What the rows of a series have in common.
struct series {
  allfold::collective what = allfold::collective::all_reduce;
  std::string algorithm = "automatic";
  datatype type = datatype::float32;
  redop operation = redop::sum;
  int root = 0;
  int ranks = 1;

  bool folds() const { return allfold::folds(what); }
  bool has_elements() const { return what != allfold::collective::barrier; }
  std::string_view type_name() const { return has_elements() ? name_of(type) : "none"; }
  std::string_view operation_name() const { return folds() ? name_of(operation) : "none"; }
  int shown_root() const { return has_root(what) ? root : -1; }
};

/// Microseconds of one call: the mean over all calls, and what lies below it in batches of them.
struct timing {
  double mean = 0, minimum = 0, median = 0, p99 = 0;
  std::size_t calls = 0;    ///< in a batch
  std::size_t batches = 0;  ///< of which each gives one time
};

struct half_row {
  timing time;
  std::optional<std::size_t> wrong;  ///< none if it was not checked
};

struct row {
  series of;
  std::size_t bytes = 0;  ///< of the larger end of the collective
  std::size_t count = 0;  ///< elements, as the collective counts them
  half_row out_of_place, in_place;
};

/// 10^9 bytes per second that the algorithm deals with: size / time.
inline double algorithm_bandwidth(const row& it, double microseconds) {
  return microseconds > 0 ? static_cast<double>(it.bytes) / 1e3 / microseconds : 0.0;
}

/// What nccl-tests multiplies it with, so that it can be compared with the speed of the links,
/// whatever the number of ranks.
inline double bus_factor(allfold::collective what, int ranks) {
  using enum allfold::collective;
  const double others = static_cast<double>(ranks - 1) / ranks;
  if (what == all_reduce) return 2 * others;
  if (what == reduce || what == broadcast) return 1;
  return others;
}

inline double bus_bandwidth(const row& it, double microseconds) {
  return algorithm_bandwidth(it, microseconds) * bus_factor(it.of.what, it.of.ranks);
}

/// The sum of both halves, or nothing if it was not checked.
inline std::size_t wrong_in(const row& it) {
  return it.out_of_place.wrong.value_or(0) + it.in_place.wrong.value_or(0);
}

}  // namespace bench
