// The algorithm that is taken where none is named.
#pragma once

#include <allfold/schedule/direct.hpp>

namespace allfold {

/// `direct`: where all ranks reach each other's memory, as threads do, it moves the fewest bytes in
/// the fewest hops at every size, and folds in rank order.
struct automatic : direct {};

template <>
inline constexpr bool trusted<automatic> = true;

}  // namespace allfold

#ifdef ALLFOLD_PROVE
#include <allfold/schedule/proof.hpp>
static_assert(allfold::proven<allfold::automatic>);
#endif
