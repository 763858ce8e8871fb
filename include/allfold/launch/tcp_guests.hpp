// Who knocks at rank 0's port, and is let in or turned away. Needs Asio without Boost: libasio-dev.
#pragma once

#include <allfold/launch/tcp_part.hpp>
#include <asio/ip/v6_only.hpp>
#include <asio/steady_timer.hpp>
#include <list>
#include <system_error>
#include <vector>

namespace allfold::detail {

/// One who has connected and is not known yet.
struct tcp_guest {
  std::shared_ptr<tcp_channel> line;
  asio::steady_timer patience;
  tcp_hello hello{};
  std::array<char, tcp_hello::bytes> words{};
  std::string job{};
  bool gone = false;
};

/// Listens, and reads what those who connect say first. Anybody may connect: whoever is silent for
/// 5 s or says what no rank says is turned away, and so is whoever waits longest if there are too
/// many. So nobody can keep the ranks out, or have more memory used than a few kilobytes.
class tcp_guests {
 public:
  using guest = std::shared_ptr<tcp_guest>;

  /// `arrived` is called with a rank of the same job, and calls `seat`, `turn_away` or `hang_up`.
  /// There are never more than `most` guests. Throws process_error if the port can't be had.
  tcp_guests(const tcp_world& world, std::size_t most, std::function<void(const guest&)> arrived)
      : world_{world},
        most_{most},
        arrived_{std::move(arrived)},
        acceptor_{world.io},
        timer_{world.io} {
    listen(world.address, static_cast<unsigned short>(world.port));
    accept();
  }
  tcp_guests(const tcp_guests&) = delete;
  tcp_guests& operator=(const tcp_guests&) = delete;

  /// Nobody is let in any more. It must outlive what is under way in the io_context.
  void close() {
    closed_ = true;
    asio::error_code ignored;
    acceptor_.close(ignored);
    while (!guests_.empty()) hang_up(guests_.front());
  }
  bool closed() const { return closed_; }

  /// It is a guest no longer, but connected.
  std::shared_ptr<tcp_channel> seat(const guest& who) {
    forget(who);
    return who->line;
  }
  /// It may come again.
  void hang_up(guest who) {
    who->line->close();
    forget(who);
  }
  /// Tells it why it can't be let in.
  void turn_away(const guest& who, trouble kind, const std::string& text) {
    const std::string why = "the first meeting at " + world_.place() + ": " + text;
    who->line->send({tcp_frame::type::trouble, static_cast<std::uint64_t>(kind), why.size(), why},
                    [](const asio::error_code&) {});
    who->line->skip(~std::uint64_t{0}, [this, who](const asio::error_code&) { forget(who); });
  }
  void note(const std::string& what) {
    if (++notes_ <= 4) noted_ += "; " + what;
  }
  /// Who was turned away, for the text of an error.
  std::string noted() const {
    return notes_ <= 4 ? noted_ : noted_ + "; and " + std::to_string(notes_ - 4) + " more";
  }

 private:
  /// An address that is a loopback's is listened at only there; else at all of the machine's: by
  /// what other machines call it a host may know itself by another address.
  static std::vector<tcp::endpoint> places_for(const std::string& address, unsigned short port) {
    asio::error_code no_number;
    const auto number = asio::ip::make_address(address, no_number);
    if (!no_number && number.is_loopback()) return {{number, port}};
    if (address == "localhost")
      return {{asio::ip::address_v4::loopback(), port}, {asio::ip::address_v6::loopback(), port}};
    return {{tcp::v6(), port}, {tcp::v4(), port}};
  }
  void listen(const std::string& address, unsigned short port) {
    asio::error_code error;
    for (const tcp::endpoint& place : places_for(address, port)) {
      asio::error_code ignored;
      acceptor_.close(ignored);
      acceptor_.open(place.protocol(), error);
      if (error) continue;
      acceptor_.set_option(tcp::acceptor::reuse_address{true}, ignored);
      if (place.protocol() == tcp::v6()) acceptor_.set_option(asio::ip::v6_only{false}, ignored);
      acceptor_.bind(place, error);
      if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
      if (!error || error == asio::error::address_in_use) break;
    }
    if (!error) return;
    throw process_error{
        world_.who() + "can't listen at " + world_.place() + ": " + error.message() +
        (error == asio::error::address_in_use ? ": another program has the port, or another rank 0"
                                              : "")};
  }

  void accept() {
    acceptor_.async_accept([this](const asio::error_code& error, tcp::socket socket) {
      if (closed_) return;
      if (!error) {
        hear(std::move(socket));
        return accept();
      }
      // Too many files are open, or it has gone again.
      note("a connection could not be taken: " + error.message());
      timer_.expires_after(std::chrono::milliseconds{20});
      timer_.async_wait([this](const asio::error_code& stopped) {
        if (!stopped && !closed_) accept();
      });
    });
  }

  void hear(tcp::socket socket) {
    if (guests_.size() >= most_) dismiss(guests_.front(), "was one of too many");
    const auto executor = socket.get_executor();
    const guest who{new tcp_guest{std::make_shared<tcp_channel>(std::move(socket)),
                                  asio::steady_timer{executor, std::chrono::seconds{5}}}};
    guests_.push_back(who);
    who->patience.async_wait([who](const asio::error_code& stopped) {
      if (!stopped) who->line->close();
    });
    who->line->take(who->words.data(), who->words.size(),
                    [this, who](const asio::error_code& error, std::size_t bytes) {
                      const std::string_view words{who->words.data(), bytes};
                      if (who->gone) return;
                      if (error || !who->hello.take(words))
                        return dismiss(who, "sent " + quoted(words));
                      hear_job(who);
                    });
  }
  void hear_job(const guest& who) {
    who->job.resize(who->hello.job_length);
    who->line->take(
        who->job.data(), who->job.size(), [this, who](const asio::error_code& error, std::size_t) {
          if (error) return dismiss(who, "did not say which job it is of");
          if (same_secret(world_.job, who->job)) return arrived_(who);
          note(who->line->peer() + " is of another job");
          turn_away(who, trouble::mismatch, "the ranks that meet here are of another job");
        });
  }
  void dismiss(const guest& who, const std::string& why) {
    if (who->gone) return;
    note(who->line->peer() + ' ' + why);
    hang_up(who);
  }
  void forget(guest who) {
    who->gone = true;
    who->patience.cancel();
    guests_.remove(who);
  }

  /// `3 bytes ("GET")`.
  static std::string quoted(std::string_view bytes) {
    std::string text;
    for (const char each : bytes.substr(0, 16)) text += each >= ' ' && each <= '~' ? each : '.';
    if (bytes.empty()) return "nothing";
    return std::to_string(bytes.size()) + " bytes that are no rank's (\"" + text + "\")";
  }

  tcp_world world_;
  std::size_t most_;
  std::function<void(const guest&)> arrived_;
  tcp::acceptor acceptor_;
  asio::steady_timer timer_;
  std::list<guest> guests_;
  bool closed_ = false;
  std::size_t notes_ = 0;
  std::string noted_;
};

}  // namespace allfold::detail
