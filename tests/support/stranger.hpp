// Who talks to a port of 127.0.0.1 without being a rank.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <doctest/doctest.h>
#include <allfold/launch/tcp_format.hpp>
#include <utility>

#include "support/meeting.hpp"

namespace meeting {

using allfold::detail::tcp_frame;
using allfold::detail::tcp_hello;

inline const std::string here = "127.0.0.1";

inline sockaddr_in place_of(int port, const char* address = "127.0.0.1") {
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, address, &place.sin_addr);
  return place;
}

/// Someone who is no rank, or says by hand what a rank says.
class stranger {
 public:
  stranger() : socket_{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {}
  explicit stranger(int accepted) : socket_{accepted} {}
  stranger(stranger&& other) noexcept : socket_{std::exchange(other.socket_, -1)} {}
  ~stranger() { hang_up(); }

  /// Listens, at a free port if none is given; returns the port.
  int listen(int port = 0) {
    sockaddr_in place = place_of(port);
    socklen_t size = sizeof place;
    REQUIRE(bind(socket_, reinterpret_cast<sockaddr*>(&place), size) == 0);
    REQUIRE(::listen(socket_, 16) == 0);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&place), &size);
    return ntohs(place.sin_port);
  }
  stranger accept() { return stranger{::accept(socket_, nullptr, nullptr)}; }
  bool tries(int port, const char* address = "127.0.0.1") {
    const sockaddr_in place = place_of(port, address);
    return ::connect(socket_, reinterpret_cast<const sockaddr*>(&place), sizeof place) == 0;
  }
  /// Comes as soon as somebody listens.
  void come(int port) {
    REQUIRE(comes_true([&] {
      if (tries(port)) return true;
      close(socket_);
      socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      return false;
    }));
  }
  void hang_up() {
    if (socket_ >= 0) close(std::exchange(socket_, -1));
  }
  bool says(const std::string& bytes) {
    return send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  /// What comes until the other end closes.
  std::string hears() {
    std::string bytes;
    char part[4096];
    for (ssize_t read; (read = recv(socket_, part, sizeof part, 0)) > 0;)
      bytes.append(part, static_cast<std::size_t>(read));
    return bytes;
  }
  /// The text of the trouble that it is told.
  std::string told() {
    char head[tcp_frame::head_bytes];
    tcp_frame frame;
    if (recv(socket_, head, sizeof head, MSG_WAITALL) != sizeof head ||
        !frame.take_head({head, sizeof head}) || frame.kind != tcp_frame::type::trouble)
      return "no trouble";
    std::string text(frame.payload, '\0');
    recv(socket_, text.data(), text.size(), MSG_WAITALL);
    return text;
  }

 private:
  int socket_;
};

inline int free_port() { return stranger{}.listen(); }

/// What a rank says first.
inline std::string hello(int rank, int size, const std::string& job = "",
                         std::uint32_t version = 1) {
  tcp_hello words;
  words.version = version;
  words.rank = static_cast<std::uint32_t>(rank);
  words.size = static_cast<std::uint32_t>(size);
  return words.packed(job);
}

inline void check_returned(const std::vector<outcome>& all) {
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

}  // namespace meeting
