#include "observing/a_trace.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace observing_md::a_trace {

TEST_CASE("observing.md: a trace of three steps by four ranks") {
  const std::string path = std::filesystem::temp_directory_path() /
                           ("allfold-trace-" + std::to_string(getpid()) + ".json");
  trace_three_steps(path);
  std::ifstream file{path};
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  std::filesystem::remove(path);
  const auto count = [&](const std::string& what) {
    int found = 0;
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
      ++found;
    return found;
  };
  CHECK(count("\"all_reduce\"") == 4 * 3);
  CHECK(count("\"forward\"") == 4 * 3);
  CHECK(count("\"backward\"") == 4 * 3);
}

}  // namespace observing_md::a_trace
