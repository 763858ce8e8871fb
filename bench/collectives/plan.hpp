// Which fold each element of a result holds, as the schedule declares it.
#pragma once

#include <allfold/schedule/fold_order.hpp>
#include <allfold/schedule/partition.hpp>
#include <string_view>
#include <vector>

namespace bench {

struct fold_plan {
  /// Elements side by side, all of one chunk.
  struct stretch {
    allfold::extent elements;
    int chunk;
  };
  int ranks;
  int chunks;
  allfold::fold_values values;
  std::vector<stretch> stretches;

  /// The number of the value that a rank's result holds in a chunk. Throws std::logic_error if the
  /// schedule leaves nothing there.
  int value_of(int rank, int chunk) const;
};

/// The folds of a collective, over `count` elements, or over shares of `count` in reduce_scatter.
/// Instantiated in plans.cpp.
template <class World>
fold_plan plan_of(allfold::collective what, std::string_view algorithm, int ranks,
                  std::size_t count, std::size_t element_bytes, int root);

}  // namespace bench
