#include "observing/numbers_over_all_ranks.hpp"

#include "printed.hpp"

#include <doctest/doctest.h>

#include <filesystem>

namespace observing_md::numbers_over_all_ranks {

TEST_CASE("observing.md: numbers over all ranks") {
  namespace fs = std::filesystem;
  const fs::path before = fs::current_path();
  const fs::path folder =
      fs::temp_directory_path() / ("allfold-numbers-" + std::to_string(getpid()));
  fs::create_directories(folder);
  fs::current_path(folder);
  const std::string text =
      docs::printed([] { allfold::spawn(2, [](auto& world) { train(world); }); });
  fs::current_path(before);
  CHECK_FALSE(fs::is_empty(folder / "runs" / "first"));
  fs::remove_all(folder);
  CAPTURE(text);
  CHECK(text.rfind("step 99: loss 0.0518738, samples 12800", 0) == 0);
  CHECK(text.find("\nworst 0.25") != std::string::npos);
}

}  // namespace observing_md::numbers_over_all_ranks
