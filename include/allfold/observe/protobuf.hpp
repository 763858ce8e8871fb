// The bytes of TensorBoard's files: protocol buffers, framed as TensorFlow frames records.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace allfold::detail {

/// Appends a number's bytes, the least significant first.
template <std::unsigned_integral Number>
void put_little_endian(std::string& out, Number number) {
  for (std::size_t byte = 0; byte < sizeof(Number); ++byte)
    out += static_cast<char>(number >> (8 * byte) & 0xff);
}

/// A message of a protocol buffer, field by field. See
/// https://protobuf.dev/programming-guides/encoding/.
class protobuf_message {
 public:
  void integer(unsigned field, std::int64_t value) {
    key(field, 0);
    varint(static_cast<std::uint64_t>(value));
  }
  void real(unsigned field, double value) {
    key(field, 1);
    put_little_endian(bytes_, std::bit_cast<std::uint64_t>(value));
  }
  void real(unsigned field, float value) {
    key(field, 5);
    put_little_endian(bytes_, std::bit_cast<std::uint32_t>(value));
  }
  void text(unsigned field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes_ += value;
  }
  void message(unsigned field, const protobuf_message& value) { text(field, value.bytes()); }
  void reals(unsigned field, std::span<const double> values) {
    key(field, 2);
    varint(8 * values.size());
    for (const double each : values) put_little_endian(bytes_, std::bit_cast<std::uint64_t>(each));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void key(unsigned field, unsigned wire_type) { varint(field << 3 | wire_type); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7f) | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

inline constexpr std::array<std::uint32_t, 256> crc32c_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t rest = byte;
    for (int bit = 0; bit < 8; ++bit) rest = rest >> 1 ^ ((rest & 1) != 0 ? 0x82f63b78u : 0);
    table[byte] = rest;
  }
  return table;
}();

/// The CRC-32C (Castagnoli's polynomial) of some bytes; RFC 3720, B.4, has examples.
constexpr std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t rest = ~std::uint32_t{0};
  for (const char each : bytes)
    rest = rest >> 8 ^ crc32c_table[(rest ^ static_cast<unsigned char>(each)) & 0xff];
  return ~rest;
}
static_assert(crc32c("123456789") == 0xe3069283u);

/// As TensorFlow stores it, so that a CRC of bytes that hold a CRC is a good one still.
constexpr std::uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

/// A record of a TFRecord file: its length, the length's CRC, the data, the data's CRC.
inline std::string tf_record(std::string_view data) {
  std::string out;
  put_little_endian(out, std::uint64_t{data.size()});
  put_little_endian(out, masked_crc32c(out));
  out += data;
  put_little_endian(out, masked_crc32c(data));
  return out;
}

}  // namespace allfold::detail
