// expect: static assertion failed.*: a rank leaves while its successor still reads its memory
#include <allfold/allfold.hpp>

struct hasty_ring : allfold::ring {
#ifndef POSITIVE_CONTROL
  constexpr allfold::waits exit(int, int) const { return {}; }
#endif
};

static_assert(allfold::prove<hasty_ring>(3).race_free,
              "a rank leaves while its successor still reads its memory");
