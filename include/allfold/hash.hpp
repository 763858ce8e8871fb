// Numbers for texts and the like, by which ranks compare what they have.
#pragma once

#include <cstdint>
#include <string_view>

namespace allfold {

/// FNV-1a over characters, 64 bits. `hash`: that of what comes before them.
constexpr std::uint64_t hash_of(std::string_view text, std::uint64_t hash = 0xcbf29ce484222325u) {
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
