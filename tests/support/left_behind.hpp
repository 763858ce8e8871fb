// Whether the library's shared memory is left behind. Linux.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace test {

/// How often a file of /proc names the library's memory.
inline int regions_in(const std::filesystem::path& maps) {
  std::ifstream file{maps};
  int found = 0;
  for (std::string line; std::getline(file, line);)
    found += line.find("memfd:allfold") != std::string::npos;
  return found;
}
/// How many mappings and descriptors of the library's memory this process has.
inline int own_regions() {
  int found = regions_in("/proc/self/maps");
  for (const auto& each : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    std::error_code none;
    const std::string what = std::filesystem::read_symlink(each.path(), none).string();
    found += what.find("memfd:allfold") != std::string::npos;
  }
  return found;
}

}  // namespace test
