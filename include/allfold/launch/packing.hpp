// Numbers and texts as bytes that processes send each other, and the words that errors share.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace allfold::detail {

inline std::string in_hex(std::uint64_t value) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

/// Whether two secrets are equal, in a time that depends on the length of `known` only.
inline bool same_secret(std::string_view known, std::string_view given) {
  std::size_t difference = known.size() ^ given.size();
  for (std::size_t i = 0; i < known.size(); ++i)
    difference |= static_cast<unsigned char>(known[i] ^ (i < given.size() ? given[i] : '\0'));
  return difference == 0;
}

/// Appends to bytes: numbers with their lowest byte first, texts with their length before them.
class packer {
 public:
  packer& number(std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_ += static_cast<char>(value >> 8 * i & 255);
    return *this;
  }
  packer& text(std::string_view value) {
    number(value.size(), 4);
    bytes_ += value;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Takes from bytes what a packer has put there. Behind the end everything is 0 or empty, and
/// `right` is false.
class unpacker {
 public:
  explicit unpacker(std::string_view bytes) : left_{bytes} {}

  std::uint64_t number(int bytes) {
    std::uint64_t value = 0;
    const std::string_view taken = take(static_cast<std::size_t>(bytes));
    for (std::size_t i = taken.size(); i-- > 0;)
      value = value << 8 | static_cast<unsigned char>(taken[i]);
    return value;
  }
  std::string text() { return std::string{take(static_cast<std::size_t>(number(4)))}; }
  std::size_t left() const { return left_.size(); }
  /// True if nothing was asked for that was not there.
  bool right() const { return right_; }

 private:
  std::string_view take(std::size_t size) {
    right_ = right_ && size <= left_.size();
    if (!right_) return {};
    const std::string_view taken = left_.substr(0, size);
    left_.remove_prefix(size);
    return taken;
  }

  std::string_view left_;
  bool right_ = true;
};

/// "rank 3", "ranks 1, 2 and 5"; of many, the first ones.
inline std::string ranks_in_words(const std::vector<int>& ranks) {
  constexpr std::size_t most = 16;
  const std::size_t shown = ranks.size() > most ? most - 1 : ranks.size();
  std::string text = ranks.size() == 1 ? "rank" : "ranks";
  for (std::size_t i = 0; i < shown; ++i)
    text += (i == 0 ? " " : i + 1 == ranks.size() ? " and " : ", ") + std::to_string(ranks[i]);
  if (shown < ranks.size()) text += " and " + std::to_string(ranks.size() - shown) + " more";
  return text;
}

inline std::string milliseconds_in_words(std::chrono::steady_clock::duration time) {
  const auto whole = std::chrono::duration_cast<std::chrono::milliseconds>(time);
  return std::to_string(whole.count()) + " ms";
}

}  // namespace allfold::detail
