// The bytes of a saved state: types, byte order, checksum. state.hpp writes and reads them.
#pragma once

#include <allfold/half.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace allfold {
namespace detail {

inline constexpr std::string_view state_magic{"allfold\0", 8};
inline constexpr std::uint32_t state_version = 1;
inline constexpr std::size_t state_header_bytes = 24, state_checksum_bytes = 4;
inline constexpr std::size_t section_header_bytes = 12;

struct state_type {
  std::string_view name;
  std::size_t bytes;  ///< of one element
};

/// A type's place in here is its number in the format.
inline constexpr std::array<state_type, 15> state_types{{{"", 0},
                                                         {"uint8", 1},
                                                         {"uint16", 2},
                                                         {"uint32", 4},
                                                         {"uint64", 8},
                                                         {"int8", 1},
                                                         {"int16", 2},
                                                         {"int32", 4},
                                                         {"int64", 8},
                                                         {"float16", 2},
                                                         {"bfloat16", 2},
                                                         {"float32", 4},
                                                         {"float64", 8},
                                                         {"bool", 1},
                                                         {"text", 1}}};

template <class T, class... Others>
concept one_of = (std::same_as<T, Others> || ...);

/// The number of T, 0 if it has none. char is a text's; whether it has a sign, and how wide wchar_t
/// and long double are, differs between hosts.
template <class T>
inline constexpr std::uint16_t state_code = [] {
  constexpr auto size = static_cast<unsigned>(std::countr_zero(sizeof(T)));
  if constexpr (one_of<T, unsigned char, unsigned short, unsigned, unsigned long,
                       unsigned long long, std::byte>)
    return static_cast<std::uint16_t>(1 + size);
  else if constexpr (one_of<T, signed char, short, int, long, long long>)
    return static_cast<std::uint16_t>(5 + size);
  else if constexpr (std::same_as<T, half>)
    return std::uint16_t{9};
  else if constexpr (std::same_as<T, bfloat16>)
    return std::uint16_t{10};
  else if constexpr (one_of<T, float, double> && std::numeric_limits<T>::is_iec559)
    return static_cast<std::uint16_t>(9 + size);
  else if constexpr (std::same_as<T, bool>)
    return std::uint16_t{13};
  else
    return std::same_as<T, char> ? std::uint16_t{14} : std::uint16_t{0};
}();

/// Where a section is in its state, in bytes from the state's beginning.
struct state_section {
  std::uint16_t code;
  std::size_t begin, data;
  std::size_t count;  ///< of elements
};

/// Writes `value` with its lowest byte first, on a host of either order.
template <class T, std::endian Host = std::endian::native>
void store_little(std::byte* to, T value) {
  static_assert(Host == std::endian::little || Host == std::endian::big);
  auto bytes = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
  if constexpr (Host == std::endian::big) std::ranges::reverse(bytes);
  std::ranges::copy(bytes, to);
}

/// What store_little has written. Any byte but 0 is a true `bool`.
template <class T, std::endian Host = std::endian::native>
T load_little(const std::byte* from) {
  static_assert(Host == std::endian::little || Host == std::endian::big);
  if constexpr (std::same_as<T, bool>) {
    return *from != std::byte{0};
  } else {
    std::array<std::byte, sizeof(T)> bytes;
    std::copy_n(from, sizeof(T), bytes.begin());
    if constexpr (Host == std::endian::big) std::ranges::reverse(bytes);
    return std::bit_cast<T>(bytes);
  }
}

/// The CRC-32 of zip, PNG and Ethernet: the polynomial 0x04c11db7, lowest bit first, all bits
/// inverted before and after.
inline std::uint32_t crc32(std::span<const std::byte> bytes) {
  static constexpr auto table = [] {
    std::array<std::uint32_t, 256> made{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t rest = i;
      for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ (rest % 2 == 0 ? 0 : 0xedb88320u);
      made[i] = rest;
    }
    return made;
  }();
  std::uint32_t sum = 0xffffffffu;
  for (const std::byte each : bytes)
    sum = (sum >> 8) ^ table[(sum ^ std::to_integer<std::uint32_t>(each)) & 0xffu];
  return ~sum;
}

/// Whether the first bytes, of which there may be fewer, are those of the magic.
inline bool begins_like_magic(std::span<const std::byte> bytes) {
  const std::size_t count = std::min(bytes.size(), state_magic.size());
  for (std::size_t i = 0; i < count; ++i)
    if (bytes[i] != static_cast<std::byte>(state_magic[i])) return false;
  return true;
}

/// A header with the magic, and the rest yet to be filled in.
inline std::vector<std::byte> begun_state() {
  std::vector<std::byte> bytes(state_header_bytes);
  for (std::size_t i = 0; i < state_magic.size(); ++i)
    bytes[i] = static_cast<std::byte>(state_magic[i]);
  return bytes;
}

inline bool is_section_name(std::string_view name) {
  const auto controls = [](char each) { return static_cast<unsigned char>(each) < 0x20; };
  return !name.empty() && name.size() <= 0xffff && std::ranges::none_of(name, controls);
}

/// "3 x float32".
inline std::string shown_elements(std::uint64_t count, std::uint16_t code) {
  return std::to_string(count) + " x " + std::string{state_types[code].name};
}

/// "0xcbf43926".
inline std::string shown_checksum(std::uint32_t sum) {
  std::string text = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[(sum >> shift) & 15u];
  return text;
}

/// " among "a", "b"": the names in a map, 16 at most.
inline std::string shown_names(const auto& sections) {
  std::string text;
  std::size_t shown = 0;
  for (const auto& [name, section] : sections) {
    if (shown == 16) return text + ", …";
    text += (shown++ == 0 ? " among \"" : ", \"") + name + '"';
  }
  return text;
}

}  // namespace detail

/// What a section may hold: integers, float, double, half, bfloat16, bool and std::byte, which is
/// stored like an unsigned char.
template <class T>
concept state_element = detail::state_code<T>
!= 0 && !std::same_as<T, char>;

}  // namespace allfold
