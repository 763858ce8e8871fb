#include "concepts/which_bits_come_out.hpp"

#include <doctest/doctest.h>

namespace concepts_md::which_bits_come_out {

TEST_CASE("concepts.md: the order of a fold can be asked for, at run time too") {
  CHECK(last_fold() == 2);
}

}  // namespace concepts_md::which_bits_come_out
