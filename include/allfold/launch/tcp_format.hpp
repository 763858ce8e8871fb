// What ranks that meet over TCP send each other. Numbers have their lowest byte first.
#pragma once

#include <allfold/launch/packing.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace allfold::detail {

/// The first words of a rank that has reached rank 0, before it is known who it is. This layout is
/// the same in all versions; the job's characters follow.
struct tcp_hello {
  static constexpr std::uint64_t magic = 0x6c6c6568666c6c61;  // "allfhell"
  static constexpr std::size_t bytes = 24;
  static constexpr std::size_t longest_job = 1024;
  static constexpr std::uint32_t own_version = 1;

  std::uint32_t version = own_version;
  std::uint32_t rank = 0;
  std::uint32_t size = 0;
  std::uint32_t job_length = 0;

  std::string packed(std::string_view job) const {
    packer to;
    to.number(magic, 8).number(version, 4).number(rank, 4).number(size, 4).text(job);
    return to.bytes();
  }
  /// Takes `bytes` bytes; false if they are no rank's.
  bool take(std::string_view given) {
    unpacker from{given};
    const bool right = from.number(8) == magic;
    version = static_cast<std::uint32_t>(from.number(4));
    rank = static_cast<std::uint32_t>(from.number(4));
    size = static_cast<std::uint32_t>(from.number(4));
    job_length = static_cast<std::uint32_t>(from.number(4));
    return right && from.right() && job_length <= longest_job;
  }
};

/// What is sent after that. `payload` bytes follow.
struct tcp_frame {
  enum class type : std::uint32_t {
    seated = 1,     ///< rank 0 to another: it is known; `number` is the version
    all_here = 2,   ///< rank 0 to another: all have come
    bytes = 3,      ///< exchange `number`: a rank's bytes, or all ranks'
    impatient = 4,  ///< a rank to rank 0: it has waited `number` ms
    trouble = 5     ///< rank 0 to another: it is over; `number` is the kind, the payload says why
  };
  static constexpr std::uint32_t magic = 0x646c6661;  // "afld"
  static constexpr std::size_t head_bytes = 24;
  static constexpr std::size_t longest_text = std::size_t{1} << 16;

  type kind{};
  std::uint64_t number = 0;
  std::uint64_t payload = 0;
  std::string text = {};  ///< the payload, if it is trouble

  std::string packed_head() const {
    packer to;
    to.number(magic, 4).number(static_cast<std::uint32_t>(kind), 4);
    to.number(number, 8).number(payload, 8);
    return to.bytes();
  }
  /// Takes `head_bytes` bytes; false if they are no frame's.
  bool take_head(std::string_view given) {
    unpacker from{given};
    const bool right = from.number(4) == magic;
    kind = static_cast<type>(from.number(4));
    number = from.number(8);
    payload = from.number(8);
    if (kind == type::trouble) return right && payload <= longest_text;
    return right && from.right() && kind >= type::seated && kind <= type::trouble &&
           (kind == type::bytes || payload == 0);
  }
};

}  // namespace allfold::detail
