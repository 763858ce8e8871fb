// Ranks by nodes::communicator, both levels of threads. Messages are cut finely, so that short ones
// have many pieces.
#pragma once

#include <allfold/collective/hierarchical.hpp>
#include <allfold/launch/spawn.hpp>
#include <optional>
#include <vector>

namespace test {

struct shape {
  int nodes, lanes;
};
inline constexpr allfold::nodes::options fine_cut{.one_lane_bytes = 256, .piece_bytes = 512};

using threads = allfold::threads::communicator;

class world : public allfold::nodes::communicator<threads, threads> {
 public:
  static constexpr std::size_t small_bytes = fine_cut.one_lane_bytes;

  explicit world(threads& flat, shape it, allfold::nodes::options how = fine_cut)
      : communicator{flat.split(flat.rank() / it.lanes), flat.split(flat.rank() % it.lanes), how} {}
};

/// The shape of the next worlds; if there is none, those that their ranks can have take turns.
inline std::optional<shape> current_shape;

inline shape shape_for(int ranks) {
  if (current_shape) return *current_shape;
  std::vector<shape> all;
  for (int nodes = 1; nodes <= ranks; ++nodes)
    if (ranks % nodes == 0) all.push_back({nodes, ranks / nodes});
  static std::size_t turn = 0;
  return all[turn++ % all.size()];
}

/// Runs body(world&) on so many ranks.
template <class Body>
void run_world(int ranks, Body body) {
  const shape its = shape_for(ranks);
  allfold::spawn(ranks,
                 [&](threads& flat) {
                   world mine{flat, its};
                   body(mine);
                 },
                 {.timeout = std::chrono::minutes{2}});
}

}  // namespace test
