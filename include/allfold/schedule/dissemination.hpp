// A barrier in a logarithmic number of rounds.
// Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization", 1988.
#pragma once

#include <allfold/schedule/step.hpp>

namespace allfold {

/// In round k every rank waits for the rank 2^k before it to have ended round k − 1.
struct dissemination {
  /// The only collective that goes this way.
  struct barrier {
    static constexpr collective kind = collective::barrier;
    static constexpr std::string_view name = "dissemination";

    ALLFOLD_HOST_DEVICE constexpr int chunks(int) const { return 1; }
    ALLFOLD_HOST_DEVICE constexpr int steps(int size) const {
      int rounds = 0;
      for (int reach = 1; reach < size; reach *= 2) ++rounds;
      return rounds;
    }
    ALLFOLD_HOST_DEVICE constexpr step at(int rank, int size, int index) const {
      return step{}.after(only(wrap(rank - (1 << index), size)), index - 1);
    }
    ALLFOLD_HOST_DEVICE constexpr waits exit(int, int) const { return {}; }
  };
};

template <>
inline constexpr bool trusted<dissemination::barrier> = true;

}  // namespace allfold

#ifdef ALLFOLD_PROVE
#include <allfold/schedule/proof.hpp>
static_assert(allfold::proven<allfold::dissemination::barrier>);
#endif
