#include "faq/names.hpp"

#include <doctest/doctest.h>

namespace faq_md::names {

TEST_CASE("faq.md: PyTorch's collectives in other words") {
  std::vector<float> means(4);
  allfold::spawn(4, [&](auto& world) {
    std::vector<float> t(10, static_cast<float>(world.rank()));
    in_other_words(world, t);
    means[static_cast<std::size_t>(world.rank())] = t[9];
  });
  for (const float each : means) CHECK(each == 1.5f);
}

}  // namespace faq_md::names
