// Files that reports are written to, and what stands in them.
#pragma once

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

namespace test {

inline std::size_t number_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// A file's name that nothing has yet; the file is removed in the end.
struct report_file {
  std::string name;
  report_file() {
    static int number = 0;
    name = (std::filesystem::temp_directory_path() /
            ("allfold_report_" + std::to_string(getpid()) + "_" + std::to_string(number++)))
               .string();
  }
  report_file(const report_file&) = delete;
  report_file& operator=(const report_file&) = delete;
  ~report_file() { std::filesystem::remove(name); }
  std::string text() const {
    std::ostringstream all;
    all << std::ifstream{name}.rdbuf();
    return all.str();
  }
  /// Waits until something is there, and says whether it is.
  bool gets(const std::string& part, std::size_t times = 1) const {
    using clock = std::chrono::steady_clock;
    const auto end = clock::now() + std::chrono::seconds{20};
    while (number_of(text(), part) < times && clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    return number_of(text(), part) >= times;
  }
};

}  // namespace test
