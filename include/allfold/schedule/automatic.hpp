// The algorithm that is taken where none is named.
#pragma once

#include <allfold/schedule/direct.hpp>
#include <allfold/schedule/primary.hpp>
#include <allfold/schedule/tree.hpp>
#include <allfold/schedule/tuning.hpp>

namespace allfold {

/// `direct` for everything: where all ranks reach each other's memory, as threads do, it moves the
/// fewest bytes in the fewest hops.
struct direct_tuning {
  using all_reduce = rules<rule<direct>>;
  using reduce = rules<rule<direct>>;
  using broadcast = rules<rule<direct>>;
  using reduce_scatter = rules<rule<direct>>;
  using all_gather = rules<rule<direct>>;
  using scatter = rules<rule<direct>>;
  using gather = rules<rule<direct>>;
  using all_to_all = rules<rule<direct>>;
  using barrier = rules<rule<direct>>;
};

/// What `automatic` follows: `direct`, but for two cases in which ranks take turns on a core, as
/// `bench/tune` measured it. All that is named here folds in rank order: an all_reduce gives the
/// same bits however many elements it has, and by whichever rule.
struct default_tuning : direct_tuning {
  // One rank folds: the others wait once, not twice.
  using all_reduce =
      rules<rule<primary<>, when{.ranks = 3, .from = 2048, .to = 16384, .crowded = true}>,
            rule<direct>>;
  // Who reads what a rank on the same core has just written finds it in that core's cache.
  using broadcast =
      rules<rule<tree, when{.ranks = 3, .from = 512 * 1024, .crowded = true}>, rule<direct>>;
};

/// The library's choice for the number of ranks and the size of the message. A table of your own,
/// measured on your machine by `bench/tune`, stands in its place as `tuned<your_table>`.
struct automatic : tuned<default_tuning> {};

}  // namespace allfold
