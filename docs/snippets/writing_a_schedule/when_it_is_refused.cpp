#include "writing_a_schedule/when_it_is_refused.hpp"

#include <doctest/doctest.h>

#include <string_view>

namespace writing_a_schedule_md::when_it_is_refused {

TEST_CASE("writing_a_schedule.md: what is wrong, in words") {
  const std::string_view words = name_of(found.what);
  CHECK(words == "lets a rank leave while its memory is in use");
}

}  // namespace writing_a_schedule_md::when_it_is_refused
