#include "writing_a_schedule/prove_it.hpp"

#include "printed.hpp"

#include <doctest/doctest.h>

namespace writing_a_schedule_md::prove_it {

struct hasty : allfold::ring {
  constexpr allfold::waits exit(int, int) const { return {}; }
};

TEST_CASE("writing_a_schedule.md: a schedule is sound up to so many ranks, or says why not") {
  bool sound = false;
  CHECK(docs::printed([&] { sound = sound_up_to<allfold::tree>(12); }) == "");
  CHECK(sound);
  CHECK(docs::printed([&] { sound = sound_up_to<hasty>(12); }) ==
        "2 ranks: lets a rank leave while its memory is in use: rank 0 in step 1, against rank 1, "
        "chunk 1\n");
  CHECK_FALSE(sound);
}

}  // namespace writing_a_schedule_md::prove_it
