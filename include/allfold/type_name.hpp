// Names of types at compile time, without run-time type information.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace allfold {

/// The name of an operation, an algorithm or an element type as errors and tables show it. Types
/// that are local to functions may share a name.
template <class T>
constexpr std::string_view type_name() {
  constexpr std::string_view whole = __PRETTY_FUNCTION__;
  constexpr std::string_view mark = "T = ";
  constexpr std::size_t begin = whole.find(mark) + mark.size();
  constexpr std::size_t alias = whole.find("; std::string_view", begin);  // GCC explains it
  constexpr std::size_t end = alias < whole.size() ? alias : whole.size() - 1;
  constexpr std::string_view name = whole.substr(begin, end - begin);
  constexpr std::string_view own = "allfold::";  // which GCC leaves out
  return name.substr(name.starts_with(own) ? own.size() : 0);
}

/// FNV-1a over characters, to compare names of different ranks by one number.
constexpr std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char each : text) {
    hash ^= static_cast<unsigned char>(each);
    hash *= 0x100000001b3u;
  }
  return hash;
}

/// Works a number into a hash, so that neighbouring numbers give hashes far apart.
constexpr std::uint64_t mixed(std::uint64_t hash, std::uint64_t number) {
  const std::uint64_t product = (hash ^ number) * 0xd6e8feb86659fd93u;
  return product ^ (product >> 32);
}

}  // namespace allfold
