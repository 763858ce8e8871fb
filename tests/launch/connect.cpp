#if __has_include(<asio.hpp>)
#include <allfold/launch/tcp_rendezvous.hpp>
#include <asio.hpp>  // of the user, before and beside the library's own use of it
#endif

#include <allfold/launch/connect.hpp>

#include "support/meeting.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>

namespace {

using namespace meeting;
using allfold::connect;
using allfold::exchange_bytes;
using allfold::file_rendezvous;

/// What a launcher says to one of two ranks.
allfold::launch_environment told(int rank, const std::string& folder = "") {
  allfold::launch_environment it;
  it.rank = rank;
  it.size = 2;
  it.launcher = "a launcher";
  it.rendezvous = folder;
  it.job = "its job";
  return it;
}

bool exchanges(const exchange_bytes& exchange, int rank) {
  std::vector<int> all(2, -1);
  exchange(&rank, sizeof rank, all.data());
  return all == std::vector<int>{0, 1};
}

/// A way to meet that is there if the launcher has named `folder`, and notes the options.
struct own_way {
  static std::shared_ptr<own_way> by(const allfold::launch_environment& from,
                                     const allfold::rendezvous_options& options) {
    if (from.rendezvous.empty()) return nullptr;
    return std::make_shared<own_way>(own_way{options});
  }
  static constexpr const char* needs = "a way of one's own";
  void exchange(const void*, std::size_t, void*) { last = options.job; }

  allfold::rendezvous_options options;
  static inline std::string last;
};

}  // namespace

TEST_CASE("in a folder") {
  const folder place;
  std::atomic<int> right{0};
  const auto all = run_threads(2, [&](int rank) {
    const exchange_bytes exchange =
        connect<file_rendezvous>(told(rank, place.path()), {.timeout = patient});
    const exchange_bytes copy = exchange;
    if (exchanges(exchange, rank) && exchanges(copy, rank)) ++right;
    for (const std::string& name : place.names())  // the launcher's job
      CHECK(name.find(allfold::detail::in_hex(allfold::hash_of("its job"))) != std::string::npos);
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  CHECK(right == 2);
  CHECK(place.names().empty());
}

TEST_CASE("a rank that is alone meets nobody") {
  allfold::launch_environment alone;
  const exchange_bytes exchange = connect<file_rendezvous>(alone);
  const int mine = 7;
  int all = 0;
  exchange(&mine, sizeof mine, &all);
  CHECK(all == 7);
  exchange(nullptr, 0, nullptr);
}

TEST_CASE("the launcher has not said where: it is said what to set") {
  const outcome ended = attempt([] { connect<file_rendezvous>(told(1)); });
  CHECK(ended.how == ending::usage);
  CHECK_MESSAGE(ended.says("rank 1: a launcher has not said where the 2 ranks meet; set "
                           "ALLFOLD_RENDEZVOUS to a folder that all ranks see"),
                ended.text);
  const outcome both = attempt([] { connect<own_way, file_rendezvous>(told(1)); });
  CHECK(both.says("set a way of one's own, or ALLFOLD_RENDEZVOUS to a folder"));
}

TEST_CASE("the first way that fits is taken, and told the job of the options or the launcher's") {
  connect<own_way, file_rendezvous>(told(0, "/nowhere"))(nullptr, 0, nullptr);
  CHECK(own_way::last == "its job");
  connect<own_way>(told(0, "/nowhere"), {.job = "another"})(nullptr, 0, nullptr);
  CHECK(own_way::last == "another");
  const outcome ended = attempt([] { connect<file_rendezvous, own_way>(told(0, "/nowhere")); });
  CHECK(ended.says("there is no folder /nowhere"));
}

#if __has_include(<asio.hpp>)

TEST_CASE("over TCP") {
  using allfold::tcp_rendezvous;
  asio::io_context io;
  const int port = asio::ip::tcp::acceptor{io, {asio::ip::tcp::v4(), 0}}.local_endpoint().port();
  const folder place;
  for (const bool folder_too : {false, true}) {
    std::atomic<int> right{0};
    const auto all = run_threads(2, [&](int rank) {
      auto said = told(rank, folder_too ? place.path() : "");
      said.address = "127.0.0.1";
      said.port = port;
      const exchange_bytes exchange =
          folder_too ? connect<tcp_rendezvous, file_rendezvous>(said, {.timeout = patient})
                     : connect<file_rendezvous, tcp_rendezvous>(said, {.timeout = patient});
      if (exchanges(exchange, rank)) ++right;
      CHECK(place.names().empty());
    });
    for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
    CHECK(right == 2);
  }
  const outcome ended = attempt([] { connect<file_rendezvous, tcp_rendezvous>(told(0)); });
  CHECK(ended.says("to a folder that all ranks see, or MASTER_ADDR and MASTER_PORT to where"));
}

TEST_CASE("a program's own use of Asio goes on beside") {
  asio::io_context io;
  int ticks = 0;
  asio::steady_timer timer{io, 1ms};
  timer.async_wait([&](const asio::error_code& error) { ticks += error ? 0 : 1; });
  io.run();
  CHECK(ticks == 1);
}

#endif
