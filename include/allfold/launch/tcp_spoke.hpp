// The part of all ranks but 0 in a meeting over TCP. Needs Asio without Boost: libasio-dev.
#pragma once

#include <algorithm>
#include <allfold/launch/tcp_part.hpp>
#include <optional>
#include <thread>
#include <vector>

namespace allfold::detail {

/// Connects to rank 0, and is told by it what all have brought, or what went wrong.
class tcp_spoke : public tcp_part {
 public:
  /// Returns when all have come.
  explicit tcp_spoke(const tcp_world& world) : world_{world} {
    const auto deadline = deadline_after(world_.timeout);
    while (!reach(deadline)) nap(deadline);
    if (next_frame(deadline).kind != tcp_frame::type::all_here) not_rank_0();
  }
  tcp_spoke(const tcp_spoke&) = delete;
  tcp_spoke& operator=(const tcp_spoke&) = delete;
  ~tcp_spoke() override { hang_up(); }

  void exchange(std::uint64_t number, const void* mine, std::size_t size, void* all) override {
    const auto deadline = deadline_after(world_.timeout);
    const std::size_t total = size * static_cast<std::size_t>(world_.size);
    doing_ = "exchange #" + std::to_string(number);
    const tcp_frame own{tcp_frame::type::bytes, number, size};
    // What rank 0 may have sent already is read first: its last word, if it has gone.
    const auto reply = begin_frame();
    line_->send(own.packed_head(), mine, size, [](const asio::error_code&) {});
    const tcp_frame said = end_frame(reply, deadline);
    if (said.kind != tcp_frame::type::bytes || said.number != number || said.payload != total)
      not_rank_0();
    const auto taken = std::make_shared<std::optional<asio::error_code>>();
    line_->take(all, total,
                [taken](const asio::error_code& error, std::size_t) { *taken = error; });
    if (!run_until(world_.io, deadline + grace, [&] { return taken->has_value(); }))
      time_is_over("which has sent a part of the bytes");
    if (**taken) lost(**taken);
  }

 private:
  using answer = std::shared_ptr<std::optional<std::pair<asio::error_code, tcp_frame>>>;

  std::string here() const { return world_.who() + doing_ + " at " + world_.place() + ": "; }
  void hang_up() {
    if (line_) line_->close();
  }

  // ---- to rank 0 ----

  /// Tries to be seated once; false if that has to be tried again.
  bool reach(tcp_clock::time_point deadline) {
    begin_ = tcp_clock::now();
    const auto places = find(deadline);
    const auto soon = std::min(deadline, deadline_after(std::chrono::seconds{5}));
    for (const tcp::endpoint& place : places) {
      const auto done = std::make_shared<std::optional<asio::error_code>>();
      const auto socket = std::make_shared<tcp::socket>(world_.io);
      socket->async_connect(place,
                            [done, socket](const asio::error_code& error) { *done = error; });
      const bool answered = run_until(world_.io, soon, [&] { return done->has_value(); });
      if (answered && !**done) return introduce(std::move(*socket), deadline);
      note(answered, answered ? (*done)->message() : "no answer");
      asio::error_code ignored;
      socket->close(ignored);
    }
    return false;
  }
  std::vector<tcp::endpoint> find(tcp_clock::time_point deadline) {
    asio::error_code no_number;
    const auto number = asio::ip::make_address(world_.address, no_number);
    const auto port = static_cast<unsigned short>(world_.port);
    if (!no_number) return {{number, port}};
    struct search {
      tcp::resolver resolver;
      std::optional<asio::error_code> done{};
      std::vector<tcp::endpoint> found{};
    };
    const auto it = std::make_shared<search>(search{tcp::resolver{world_.io}});
    it->resolver.async_resolve(
        world_.address, std::to_string(world_.port),
        [it](const asio::error_code& error, const tcp::resolver::results_type& found) {
          for (const auto& each : found) it->found.push_back(each.endpoint());
          it->done = error;
        });
    const bool answered = run_until(world_.io, deadline, [&] { return it->done.has_value(); });
    if (!answered || *it->done)
      note(answered, answered ? it->done->message() : "its name is not found in time");
    return it->found;
  }
  bool introduce(tcp::socket socket, tcp_clock::time_point deadline) {
    line_ = std::make_shared<tcp_channel>(std::move(socket));
    tcp_hello hello;
    hello.rank = static_cast<std::uint32_t>(world_.rank);
    hello.size = static_cast<std::uint32_t>(world_.size);
    line_->send(hello.packed(world_.job), nullptr, 0, [](const asio::error_code&) {});
    const auto reply = begin_frame();
    if (!run_until(world_.io, deadline, [&] { return reply->has_value(); }))
      return note(false, "it has been reached, but says nothing");
    const auto& [error, said] = **reply;
    if (error == asio::error::invalid_argument) not_rank_0();
    if (error) return note(true, "it has hung up: " + error.message());
    if (said.kind == tcp_frame::type::trouble) hear_trouble(said);
    if (said.kind != tcp_frame::type::seated || said.number != tcp_hello::own_version) not_rank_0();
    return true;
  }
  /// What became of an attempt, unless the time was over as soon as it began. False.
  bool note(bool sure, const std::string& what) {
    if (sure || last_.empty() || tcp_clock::now() - begin_ > std::chrono::milliseconds{100})
      last_ = what;
    return false;
  }
  void nap(tcp_clock::time_point deadline) {
    hang_up();
    const auto now = tcp_clock::now();
    if (now >= deadline) time_is_over("which has not come: " + last_);
    std::this_thread::sleep_until(std::min(deadline, now + nap_));
    nap_ = std::min<tcp_clock::duration>(2 * nap_, std::chrono::milliseconds{250});
  }

  // ---- what it says ----

  answer begin_frame() {
    const auto reply = std::make_shared<answer::element_type>();
    line_->take_frame([reply](const asio::error_code& error, const tcp_frame& said) {
      reply->emplace(error, said);
    });
    return reply;
  }
  /// Rank 0 knows who is missing, so it is asked before this rank gives up.
  tcp_frame end_frame(const answer& reply, tcp_clock::time_point deadline) {
    const auto come = [&] { return reply->has_value(); };
    if (!run_until(world_.io, deadline, come)) {
      const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(world_.timeout);
      line_->send({tcp_frame::type::impatient, static_cast<std::uint64_t>(waited.count())},
                  [](const asio::error_code&) {});
      if (!run_until(world_.io, tcp_clock::now() + grace, come))
        time_is_over("which does not answer");
    }
    const auto& [error, said] = **reply;
    if (error == asio::error::invalid_argument) not_rank_0();
    if (error) lost(error);
    if (said.kind == tcp_frame::type::trouble) hear_trouble(said);
    return said;
  }
  tcp_frame next_frame(tcp_clock::time_point deadline) {
    return end_frame(begin_frame(), deadline);
  }

  // ---- what goes wrong ----

  [[noreturn]] void hear_trouble(const tcp_frame& said) {
    hang_up();
    throw_trouble(static_cast<trouble>(said.number), world_.who() + said.text);
  }
  [[noreturn]] void time_is_over(const std::string& why) {
    hang_up();
    throw timeout_error{here() + "has waited " + milliseconds_in_words(world_.timeout) +
                        " for rank 0, " + why};
  }
  [[noreturn]] void lost(const asio::error_code& error) {
    hang_up();
    throw rank_lost_error{
        here() + "rank 0 has left or is lost: its connection has ended: " + error.message()};
  }
  [[noreturn]] void not_rank_0() {
    hang_up();
    throw usage_error{here() + "what answers there is no rank 0 of this library"};
  }

  tcp_world world_;
  std::shared_ptr<tcp_channel> line_;
  std::string doing_ = "the first meeting";
  std::string last_;  ///< why rank 0 was not reached
  tcp_clock::time_point begin_{};
  tcp_clock::duration nap_ = std::chrono::milliseconds{5};
};

}  // namespace allfold::detail
