// Keeps what programs write into the documentation up to date, or says that it is not.
#pragma once

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

/// The documentation's folder, as a program was told on its command line: `[--check] FOLDER`.
/// With --check nothing is written, and result() is 1 if anything would have been.
class documentation {
 public:
  documentation(int count, char** values) {
    for (int i = 1; i < count; ++i) {
      if (std::string_view{values[i]} == "--check")
        only_check_ = true;
      else
        folder_ = values[i];
    }
    if (folder_.empty()) std::fprintf(stderr, "usage: %s [--check] FOLDER\n", values[0]);
    program_ = values[0];
    result_ = folder_.empty() ? 2 : 0;
  }

  /// Makes `text` the whole of a file.
  void file(const std::string& name, const std::string& text) {
    if (folder_.empty() || read(name) == text) return;
    if (only_check_) return complain(name + " is out of date");
    std::ofstream{folder_ / name, std::ios::binary} << text;
    std::printf("wrote %s\n", name.c_str());
  }

  /// Makes `text` what stands in a file between the lines <!-- begin MARK --> and <!-- end -->.
  void section(const std::string& name, const std::string& mark, const std::string& text) {
    if (folder_.empty()) return;
    const std::string whole = read(name);
    const auto [first, last] = place_of(whole, mark);
    if (last == whole.npos) return complain(name + " has no section " + mark);
    file(name, whole.substr(0, first) + text + whole.substr(last));
  }
  /// The same for what is measured: with --check, figures may differ.
  void section_but_figures(const std::string& name, const std::string& mark,
                           const std::string& text) {
    if (folder_.empty()) return;
    const std::string whole = read(name);
    const auto [first, last] = place_of(whole, mark);
    if (only_check_ && last != whole.npos &&
        without_figures(whole.substr(first, last - first)) == without_figures(text))
      return;
    section(name, mark, text);
  }

  bool only_checks() const { return only_check_; }
  int result() const { return result_; }

 private:
  /// Where a section begins and ends; npos if it is not there.
  static std::pair<std::size_t, std::size_t> place_of(const std::string& whole,
                                                      const std::string& mark) {
    const std::string begin = "<!-- begin " + mark + " -->\n";
    const std::size_t found = whole.find(begin), first = found + begin.size();
    return {first, found == whole.npos ? found : whole.find("<!-- end -->", first)};
  }
  /// A text with one # for each number.
  static std::string without_figures(const std::string& text) {
    std::string plain;
    for (const char each : text) {
      const bool digit = each >= '0' && each <= '9';
      if (!digit)
        plain += each;
      else if (plain.empty() || plain.back() != '#')
        plain += '#';
    }
    return plain;
  }
  std::string read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream{folder_ / name, std::ios::binary}.rdbuf();
    return text.str();
  }
  void complain(const std::string& what) {
    std::fprintf(stderr, "%s: run %s %s\n", what.c_str(), program_.c_str(),
                 folder_.string().c_str());
    result_ = 1;
  }

  std::filesystem::path folder_;
  std::string program_;
  bool only_check_ = false;
  int result_ = 0;
};
