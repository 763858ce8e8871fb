// What rank 0's part of a meeting over TCP and that of the others have in common. Needs Asio.
#pragma once

#include <allfold/launch/rendezvous_options.hpp>
#include <allfold/launch/tcp_channel.hpp>
#include <string>

namespace allfold::detail {

/// Who is to meet, and where.
struct tcp_world {
  asio::io_context& io;
  std::string address;
  int port;
  int rank;
  int size;
  tcp_clock::duration timeout;
  std::string job;

  /// "node7:29500".
  std::string place() const { return address + ':' + std::to_string(port); }
  std::string who() const { return "allfold: rank " + std::to_string(rank) + ": "; }
};

/// A rank's part. After an exception it is of no use any more.
class tcp_part {
 public:
  /// How long the end of a meeting may take: to tell why, and to be told.
  static constexpr tcp_clock::duration grace = std::chrono::seconds{1};

  virtual ~tcp_part() = default;
  /// The `number`-th exchange, counted from 0.
  virtual void exchange(std::uint64_t number, const void* mine, std::size_t size, void* all) = 0;
};

}  // namespace allfold::detail
