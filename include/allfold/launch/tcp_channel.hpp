// A connection of two ranks, which carries frames. Needs Asio without Boost: libasio-dev.
#pragma once

#include <algorithm>
#include <allfold/launch/tcp_format.hpp>
#include <array>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace allfold::detail {

using tcp = asio::ip::tcp;
using tcp_clock = std::chrono::steady_clock;

/// When a time limit is over that begins now. The longest one is ten years.
inline tcp_clock::time_point deadline_after(tcp_clock::duration limit) {
  return tcp_clock::now() + std::min<tcp_clock::duration>(limit, std::chrono::hours{87600});
}

/// Does what is under way until `condition()` is true; false if the deadline comes first.
template <class Condition>
bool run_until(asio::io_context& io, tcp_clock::time_point deadline, Condition condition) {
  while (!condition()) {
    if (tcp_clock::now() >= deadline) return false;
    io.restart();
    if (io.run_one_until(deadline) == 0 && io.stopped())
      return condition();  // nothing is under way
  }
  return true;
}

/// "127.0.0.1:4711".
inline std::string in_words(const tcp::endpoint& place) {
  const std::string host = place.address().to_string();
  return (place.address().is_v6() ? '[' + host + ']' : host) + ':' + std::to_string(place.port());
}

/// Everything happens, and every `then` is called, in the thread that runs the io_context. Memory
/// that is handed over must stay until `then` is called, or the channel is closed.
class tcp_channel : public std::enable_shared_from_this<tcp_channel> {
 public:
  using ended = std::function<void(const asio::error_code&)>;
  using got_frame = std::function<void(const asio::error_code&, const tcp_frame&)>;

  explicit tcp_channel(tcp::socket socket) : socket_{std::move(socket)} {
    asio::error_code ignored;
    socket_.set_option(tcp::no_delay{true}, ignored);
    socket_.set_option(asio::socket_base::keep_alive{true}, ignored);
    const auto other = socket_.remote_endpoint(ignored);
    if (!ignored) peer_ = in_words(other);
  }

  /// The other end: "127.0.0.1:4711".
  const std::string& peer() const { return peer_; }
  void close() {
    asio::error_code ignored;
    socket_.close(ignored);
  }

  /// Fills `size` bytes. `then` is told how many have come before an error.
  template <class Then>
  void take(void* to, std::size_t size, Then then) {
    asio::async_read(socket_, asio::buffer(to, size),
                     [self = shared_from_this(), then = std::move(then)](
                         const asio::error_code& error, std::size_t bytes) { then(error, bytes); });
  }
  /// Takes bytes that nobody wants.
  void skip(std::uint64_t size, ended then) {
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(size, waste_.size()));
    if (part == 0) return then({});
    take(waste_.data(), part,
         [this, size, part, then = std::move(then)](const asio::error_code& error, std::size_t) {
           if (error) return then(error);
           skip(size - part, then);
         });
  }
  /// Takes a frame, of bytes only the head: `take` or `skip` its payload afterwards. What is no
  /// frame is the error invalid_argument.
  void take_frame(got_frame then) {
    take(head_.data(), head_.size(),
         [this, then = std::move(then)](const asio::error_code& error, std::size_t) {
           tcp_frame frame;
           if (error) return then(error, frame);
           if (!frame.take_head({head_.data(), head_.size()}))
             return then(asio::error::make_error_code(asio::error::invalid_argument), frame);
           if (frame.kind != tcp_frame::type::trouble) return then({}, frame);
           text_.resize(static_cast<std::size_t>(frame.payload));
           take(text_.data(), text_.size(),
                [this, then, frame](const asio::error_code& failure, std::size_t) {
                  tcp_frame whole = frame;
                  whole.text = text_;
                  then(failure, whole);
                });
         });
  }

  /// Sends bytes of its own and, without a copy, `size` bytes of the caller's. After what was sent
  /// before.
  void send(std::string head, const void* body, std::size_t size, ended then) {
    leaving_.push_back({std::move(head), body, size, std::move(then)});
    if (leaving_.size() == 1) send_next();
  }
  void send(const tcp_frame& frame, ended then) {
    send(frame.packed_head() + frame.text, nullptr, 0, std::move(then));
  }

 private:
  struct message {
    std::string head;
    const void* body;
    std::size_t size;
    ended then;
  };

  void send_next() {
    const message& first = leaving_.front();
    const std::array<asio::const_buffer, 2> parts{asio::buffer(first.head),
                                                  asio::buffer(first.body, first.size)};
    asio::async_write(
        socket_, parts,
        [this, self = shared_from_this()](const asio::error_code& error, std::size_t) {
          const ended then = std::move(leaving_.front().then);
          leaving_.pop_front();
          if (!leaving_.empty()) send_next();
          then(error);
        });
  }

  tcp::socket socket_;
  std::string peer_ = "a peer that has gone";
  std::array<char, tcp_frame::head_bytes> head_{};
  std::array<char, 4096> waste_{};
  std::string text_;
  std::deque<message> leaving_;
};

}  // namespace allfold::detail
