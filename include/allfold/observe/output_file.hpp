// A file that is written from its beginning, and whose failures are thrown by its name.
#pragma once

#include <allfold/error.hpp>
#include <cerrno>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace allfold::detail {

/// Used by one thread. What was written since the last `flush` may be lost without a word when it
/// is destroyed.
class output_file {
 public:
  /// Creates the file `path`, or empties it. `who` begins the text of an error.
  output_file(std::string who, std::string path) : who_{std::move(who)}, path_{std::move(path)} {
    attempt([&] { file_.open(path_, std::ios::binary | std::ios::trunc); });
  }

  void write(std::string_view bytes) {
    attempt([&] { file_.write(bytes.data(), static_cast<std::streamsize>(bytes.size())); });
  }
  void flush() {
    attempt([&] { file_.flush(); });
  }
  const std::string& path() const { return path_; }

 private:
  template <class Work>
  void attempt(Work work) {
    errno = 0;
    work();
    if (file_) return;
    std::string text = "allfold: " + who_ + ": can't write " + path_;
    if (errno != 0) text += ": " + std::generic_category().message(errno);
    throw error{text};
  }

  std::string who_;
  std::string path_;
  std::ofstream file_;
};

}  // namespace allfold::detail
