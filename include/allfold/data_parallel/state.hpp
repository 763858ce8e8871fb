// What a training run needs in order to go on, as bytes: named sections of typed elements behind a
// checksum. docs/checkpoints.md describes the format byte by byte.
#pragma once

#include <allfold/data_parallel/state_format.hpp>
#include <allfold/error.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <ranges>
#include <set>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace allfold {

/// Collects named sections and makes a state of them. Used by one thread; ranks don't know of it.
/// A name is 1 to 65535 bytes, in UTF-8 or otherwise, without control characters, and given once.
/// What puts a section throws usage_error for any other name.
class state_writer {
 public:
  /// One element.
  template <state_element T>
  void put(std::string_view name, T value,
           std::source_location where = std::source_location::current()) {
    put(name, std::span<const T>{&value, 1}, where);
  }

  /// A text, which may hold any bytes.
  void put(std::string_view name, std::string_view text,
           std::source_location where = std::source_location::current()) {
    std::byte* to = append(name, detail::state_code<char>, text.size(), where);
    for (const char each : text) *to++ = static_cast<std::byte>(each);
  }

  /// Elements side by side: a std::span, std::vector, std::array, … of them.
  template <std::ranges::contiguous_range Range>
  requires state_element<std::ranges::range_value_t<Range>>
  void put(std::string_view name, const Range& elements,
           std::source_location where = std::source_location::current()) {
    using T = std::ranges::range_value_t<Range>;
    std::byte* to = append(name, detail::state_code<T>, std::ranges::size(elements), where);
    for (const T each : elements) {
      detail::store_little(to, each);
      to += sizeof(T);
    }
  }

  /// The state of all sections so far, in the order in which they were put. The writer is as new
  /// afterwards.
  std::vector<std::byte> finish() {
    const std::size_t size = bytes_.size() + detail::state_checksum_bytes;
    detail::store_little(&bytes_[8], detail::state_version);
    detail::store_little(&bytes_[12], static_cast<std::uint32_t>(names_.size()));
    detail::store_little(&bytes_[16], static_cast<std::uint64_t>(size));
    const std::uint32_t checksum = detail::crc32(bytes_);
    bytes_.resize(size);
    detail::store_little(&bytes_[size - detail::state_checksum_bytes], checksum);
    return std::exchange(*this, state_writer{}).bytes_;
  }

 private:
  /// Makes room for a section, and returns where its elements go.
  std::byte* append(std::string_view name, std::uint16_t code, std::size_t count,
                    std::source_location where) {
    const std::string shown = "state_writer at " + place_of(where) + ": the section's name ";
    if (!detail::is_section_name(name))
      throw usage_error{"allfold: " + shown +
                        "must be of 1 to 65535 bytes without control characters"};
    if (!names_.emplace(name).second)
      throw usage_error{"allfold: " + shown + '"' + std::string{name} + "\" is taken already"};
    const std::size_t begin = bytes_.size();
    const std::size_t data = begin + detail::section_header_bytes + name.size();
    bytes_.resize(data + count * detail::state_types[code].bytes);
    detail::store_little(&bytes_[begin], code);
    detail::store_little(&bytes_[begin + 2], static_cast<std::uint16_t>(name.size()));
    detail::store_little(&bytes_[begin + 4], static_cast<std::uint64_t>(count));
    for (std::size_t i = 0; i < name.size(); ++i)
      bytes_[begin + detail::section_header_bytes + i] = static_cast<std::byte>(name[i]);
    return bytes_.data() + data;
  }

  std::vector<std::byte> bytes_ = detail::begun_state();
  std::set<std::string, std::less<>> names_;
};

/// Reads what a state_writer has made, on any host. All of it is checked before any of it can be
/// asked for, so no bytes whatever lead out of their bounds. May be read by several threads at the
/// same time.
class state_reader {
 public:
  /// Checks magic, version, length, checksum and every section. `origin` is what the errors call
  /// the bytes. Errors: state_error for whatever is not as docs/checkpoints.md says.
  explicit state_reader(std::vector<std::byte> bytes, std::string origin = "state",
                        std::source_location where = std::source_location::current())
      : bytes_{std::move(bytes)}, origin_{std::move(origin)} {
    check_frame(where);
    const std::size_t end = bytes_.size() - detail::state_checksum_bytes;
    std::size_t at = detail::state_header_bytes;
    while (at < end) at = read_section(at, end, where);
    const auto expected = detail::load_little<std::uint32_t>(&bytes_[12]);
    if (expected != sections_.size())
      fail("byte 12", std::to_string(sections_.size()) + " sections, as follow",
           std::to_string(expected), where);
  }

  /// Whether there is a section of this name, of whatever type.
  bool has(std::string_view name) const { return sections_.find(name) != sections_.end(); }

  /// The section's only element; or its text, as std::string. Errors: state_error if there is no
  /// such section, or if it is of another type or count.
  template <class T>
  requires state_element<T> || std::same_as<T, std::string> T
  get(std::string_view name, std::source_location where = std::source_location::current())
  const {
    if constexpr (std::same_as<T, std::string>) {
      const detail::state_section& section = find(name, detail::state_code<char>, where);
      std::string text(section.count, '\0');
      for (std::size_t i = 0; i < text.size(); ++i)
        text[i] = std::to_integer<char>(bytes_[section.data + i]);
      return text;
    } else {
      T value{};
      get_into(name, std::span<T>{&value, 1}, where);
      return value;
    }
  }

  /// All of the section's elements. Errors: state_error if there is no such section, or if it is of
  /// another type.
  template <state_element T>
  std::vector<T> get_span(std::string_view name,
                          std::source_location where = std::source_location::current()) const {
    const detail::state_section& section = find(name, detail::state_code<T>, where);
    std::vector<T> elements(section.count);
    for (std::size_t i = 0; i < section.count; ++i)
      elements[i] = detail::load_little<T>(&bytes_[section.data + i * sizeof(T)]);
    return elements;
  }

  /// All of the section's elements, into `target`, which has room for exactly as many. Errors:
  /// state_error if there is no such section, or if it is of another type or count; then nothing is
  /// written.
  template <std::ranges::contiguous_range Range>
  requires state_element<std::ranges::range_value_t<Range>>
  void get_into(std::string_view name, Range&& target,
                std::source_location where = std::source_location::current()) const {
    using T = std::ranges::range_value_t<Range>;
    const detail::state_section& section = find(name, detail::state_code<T>, where);
    const std::size_t count = std::ranges::size(target);
    if (count != section.count)
      fail(place_in(name, section), detail::shown_elements(count, section.code),
           detail::shown_elements(section.count, section.code), where);
    T* to = std::ranges::data(target);
    for (std::size_t i = 0; i < count; ++i)
      to[i] = detail::load_little<T>(&bytes_[section.data + i * sizeof(T)]);
  }

 private:
  [[noreturn]] void fail(const std::string& place, const std::string& expected,
                         const std::string& found, std::source_location where) const {
    throw state_error{"allfold: " + origin_ + ", " + place + ": expected " + expected + ", found " +
                      found + ", at " + place_of(where)};
  }

  static std::string place_in(std::string_view name, const detail::state_section& section) {
    return "section \"" + std::string{name} + "\" at byte " + std::to_string(section.begin);
  }

  /// What encloses the sections.
  void check_frame(std::source_location where) const {
    const std::size_t size = bytes_.size();
    if (!detail::begins_like_magic(bytes_))
      fail("byte 0", "the magic \"allfold\\0\"", "other bytes", where);
    if (size < detail::state_header_bytes + detail::state_checksum_bytes)
      fail("byte " + std::to_string(size), "the rest of at least 28 bytes", "the end", where);
    if (const auto version = detail::load_little<std::uint32_t>(&bytes_[8]);
        version != detail::state_version)
      fail("byte 8", "format version 1",
           std::to_string(version) + (version > detail::state_version ? ", which is newer" : ""),
           where);
    if (const auto length = detail::load_little<std::uint64_t>(&bytes_[16]); length != size)
      fail("byte 16", std::to_string(length) + " bytes in all", std::to_string(size), where);
    const std::size_t end = size - detail::state_checksum_bytes;
    const auto checksum = detail::load_little<std::uint32_t>(&bytes_[end]);
    if (const std::uint32_t own = detail::crc32(std::span{bytes_}.first(end)); own != checksum)
      fail("byte " + std::to_string(end), "the checksum " + detail::shown_checksum(checksum),
           detail::shown_checksum(own), where);
  }

  /// Notes the section that begins at byte `at`; returns where it ends. Lengths are compared with
  /// the bytes that are left, never added to something, so none is too large to be refused.
  std::size_t read_section(std::size_t at, std::size_t end, std::source_location where) {
    const std::string place = "byte " + std::to_string(at);
    if (end - at < detail::section_header_bytes)
      fail(place, "a section of at least 12 bytes", std::to_string(end - at), where);
    const auto code = detail::load_little<std::uint16_t>(&bytes_[at]);
    if (code == 0 || code >= detail::state_types.size())
      fail(place, "a type from 1 to 14", std::to_string(code), where);
    const std::size_t length = detail::load_little<std::uint16_t>(&bytes_[at + 2]);
    const auto count = detail::load_little<std::uint64_t>(&bytes_[at + 4]);
    std::size_t left = end - at - detail::section_header_bytes;
    if (length > left)
      fail(place, "a name of " + std::to_string(length) + " bytes", std::to_string(left), where);
    const auto* text = reinterpret_cast<const char*>(&bytes_[at] + detail::section_header_bytes);
    std::string name{text, length};
    if (!detail::is_section_name(name)) fail(place, "a name", "one that is none", where);
    left -= length;
    const std::size_t width = detail::state_types[code].bytes;
    if (count > left / width)
      fail("section \"" + name + "\" at " + place, detail::shown_elements(count, code),
           std::to_string(left) + " bytes", where);
    const std::size_t data = end - left;
    const detail::state_section section{code, at, data, static_cast<std::size_t>(count)};
    if (const auto [it, is_new] = sections_.emplace(std::move(name), section); !is_new)
      fail(place_in(it->first, section), "a name of its own",
           "the same at byte " + std::to_string(it->second.begin), where);
    return data + section.count * width;
  }

  const detail::state_section& find(std::string_view name, std::uint16_t code,
                                    std::source_location where) const {
    const auto it = sections_.find(name);
    const std::string type{detail::state_types[code].name};
    if (it == sections_.end())
      fail("section \"" + std::string{name} + '"', type,
           "no such section" + detail::shown_names(sections_), where);
    if (it->second.code != code)
      fail(place_in(name, it->second), type, std::string{detail::state_types[it->second.code].name},
           where);
    return it->second;
  }

  std::vector<std::byte> bytes_;
  std::string origin_;
  std::map<std::string, detail::state_section, std::less<>> sections_;
};

}  // namespace allfold
