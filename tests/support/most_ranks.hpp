#pragma once

namespace test {

/// Collectives are tested on 1 to so many ranks. Under a sanitizer on fewer, because the time they
/// take grows with its square.
#ifdef ALLFOLD_TEST_MOST_RANKS
inline constexpr int most_ranks = ALLFOLD_TEST_MOST_RANKS;
#else
inline constexpr int most_ranks = 9;
#endif

}  // namespace test
