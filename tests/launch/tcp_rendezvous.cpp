#include "support/meeting.hpp"

#include <doctest/doctest.h>

#if __has_include(<asio/io_context.hpp>)

#include <allfold/launch/tcp_rendezvous.hpp>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>

namespace {

using namespace meeting;
using allfold::tcp_rendezvous;
using allfold::detail::tcp_frame;
using allfold::detail::tcp_hello;

const std::string here = "127.0.0.1";
const std::vector<int> sizes{1, 2, 3, 5, 8};

sockaddr_in place_of(int port, const char* address = "127.0.0.1") {
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, address, &place.sin_addr);
  return place;
}

/// A socket of someone who is no rank.
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

int free_port() { return stranger{}.listen(); }

std::string hello(int rank, int size, const std::string& job = "", std::uint32_t version = 1) {
  tcp_hello words;
  words.version = version;
  words.rank = static_cast<std::uint32_t>(rank);
  words.size = static_cast<std::uint32_t>(size);
  return words.packed(job);
}

void check_returned(const std::vector<outcome>& all) {
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

/// Ranks of a world that meet while `others(port)` does what it likes, and exchange once.
template <class Others>
void meet_beside(int size, Others others) {
  const int port = free_port();
  std::atomic<int> right{0};
  const auto begin = clock::now();
  std::thread beside{[&] { others(port); }};
  const auto all = run_threads(size, [&](int rank) {
    // Rank 0 is there for the strangers alone before the others come.
    if (rank != 0) std::this_thread::sleep_for(300ms);
    tcp_rendezvous meets{here, port, rank, size, {.timeout = patient, .job = "ours"}};
    if (exchanges(meets, 0, 100)) ++right;
  });
  beside.join();
  check_returned(all);
  CHECK(right == size);
  CHECK(clock::now() - begin < 4s);
}

}  // namespace

TEST_CASE("ranks get each other's bytes") {
  for (const int size : sizes) {
    CAPTURE(size);
    const int port = free_port();
    std::atomic<int> right{0};
    const auto all = run_threads(size, [&](int rank) {
      tcp_rendezvous meets{here, port, rank, size, {.timeout = patient, .job = "it"}};
      CHECK(meets.rank() == rank);
      CHECK(meets.size() == size);
      int round = 0;
      for (const std::size_t bytes : {8u, 0u, 1u, 1000u, 0u, 3000000u, 8u})
        if (exchanges(meets, round++, bytes)) ++right;
    });
    check_returned(all);
    CHECK(right == 7 * size);
  }
}

TEST_CASE("ranks that are processes") {
  for (const int size : sizes) {
    const int port = free_port();
    std::vector<pid_t> children;
    for (int rank = 0; rank < size; ++rank)
      children.push_back(begin_process([&, rank] {
        tcp_rendezvous meets{here, port, rank, size, {.timeout = patient}};
        for (int round = 0; round < 100; ++round)
          if (!exchanges(meets, round, 64)) throw std::runtime_error{"wrong bytes"};
      }));
    for (const pid_t child : children) CHECK(end_of(child) == ending::returned);
  }
}

TEST_CASE("ranks come in any order, and may be late to exchanges") {
  for (int last = 0; last < 3; ++last) {
    const int port = free_port();
    std::atomic<int> right{0};
    const auto all = run_threads(3, [&](int rank) {
      if (rank == last) std::this_thread::sleep_for(150ms);
      tcp_rendezvous meets{here, port, rank, 3, {.timeout = patient}};
      for (int round = 0; round < 6; ++round) {
        if (rank == round % 3) std::this_thread::sleep_for(20ms);
        if (exchanges(meets, round, 8)) ++right;
      }
    });
    check_returned(all);
    CHECK(right == 18);
  }
}

TEST_CASE("rank 0 is late to an exchange, but not too late") {
  const int port = free_port();
  const auto all = run_threads(3, [&](int rank) {
    tcp_rendezvous meets{here, port, rank, 3, {.timeout = 200ms}};
    if (rank == 0) std::this_thread::sleep_for(500ms);  // the others have just lost patience
    CHECK(exchanges(meets, 0, 8));
    CHECK(exchanges(meets, 1, 8));
  });
  check_returned(all);
}

TEST_CASE("one port again and again, without a pause") {
  const int port = free_port();
  std::atomic<int> right{0};
  const auto all = run_threads(3, [&](int rank) {
    for (int use = 0; use < 100; ++use) {
      tcp_rendezvous meets{here, port, rank, 3, {.timeout = patient}};
      if (use % 2 == 0 || exchanges(meets, use, 8)) ++right;
    }
  });
  check_returned(all);
  CHECK(right == 300);
}

TEST_CASE("by name, by number, over IPv6; the port is free when all have met") {
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  std::vector<std::string> addresses{"127.0.0.1", "localhost"};
  addrinfo* found = nullptr;
  if (getaddrinfo(host, nullptr, nullptr, &found) != 0)
    MESSAGE("this machine does not know its own name");
  else
    addresses.emplace_back(host);
  if (found != nullptr) freeaddrinfo(found);
  const int v6 = socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 loopback{};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  if (bind(v6, reinterpret_cast<sockaddr*>(&loopback), sizeof loopback) == 0)
    addresses.emplace_back("::1");
  else
    MESSAGE("this machine has no IPv6");
  close(v6);
  for (const std::string& address : addresses) {
    CAPTURE(address);
    const int port = free_port();
    std::atomic<int> right{0};
    const auto all = run_threads(2, [&](int rank) {
      tcp_rendezvous first{address, port, rank, 2, {.timeout = patient}};
      tcp_rendezvous second{address, port, rank, 2, {.timeout = patient}};
      if (exchanges(first, 0, 8) && exchanges(second, 1, 8)) ++right;
    });
    check_returned(all);
    CHECK(right == 2);
  }
}

TEST_CASE("at an address of the loopback rank 0 listens there only") {
  for (const std::string address : {"127.0.0.1", "0.0.0.0"}) {
    const int port = free_port();
    std::thread rank_0{[&] {
      attempt([&] { tcp_rendezvous{address, port, 0, 2, {.timeout = 300ms}}; });
    }};
    stranger first, second;
    first.come(port);
    CHECK(second.tries(port, "127.0.0.2") == (address != "127.0.0.1"));
    rank_0.join();
  }
}

TEST_CASE("what can't be") {
  for (const auto& [rank, size] : std::vector<std::pair<int, int>>{{-1, 2}, {2, 2}, {0, 0}}) {
    const outcome ended = attempt([&, rank = rank, size = size] {
      tcp_rendezvous{here, 4711, rank, size};
    });
    CHECK(ended.how == ending::usage);
    CHECK(ended.says("no rank " + std::to_string(rank) + " among " + std::to_string(size)));
  }
  for (const int port : {0, -1, 65536}) {
    const outcome ended = attempt([&] { tcp_rendezvous{here, port, 1, 2}; });
    CHECK(ended.how == ending::usage);
    CHECK(ended.says("rank 1: ranks can't meet at \"127.0.0.1\", port " + std::to_string(port)));
  }
  CHECK(attempt([&] { tcp_rendezvous{"", 4711, 1, 2}; }).how == ending::usage);
  const outcome ended = attempt([&] {
    tcp_rendezvous{here, 4711, 1, 2, {.job = std::string(1025, 'x')}};
  });
  CHECK(ended.how == ending::usage);
  CHECK(ended.says("a job of 1025 characters is too long"));
}

TEST_CASE("rank 0's port is in use") {
  stranger other;
  const int port = other.listen();
  for (const std::string address : {"127.0.0.1", "localhost", "0.0.0.0"}) {
    try {
      tcp_rendezvous{address, port, 0, 2, {.timeout = 5s}};
      CHECK(false);
    } catch (const allfold::process_error& error) {
      const std::string text = error.what();
      CHECK_MESSAGE(text.find("rank 0: can't listen at " + address + ':' + std::to_string(port) +
                              ": Address already in use") != std::string::npos,
                    text);
    }
  }
}

TEST_CASE("rank 0's address is no address") {
  const outcome ended = attempt([&] {
    tcp_rendezvous{"192.0.2.1", 4711, 1, 2, {.timeout = 200ms}};
  });
  CHECK(ended.how == ending::timeout);
  CHECK(ended.says("at 192.0.2.1:4711: has waited 200 ms for rank 0, which has not come: "));
  const outcome unknown = attempt([&] {
    tcp_rendezvous{"no-such-host.invalid", 4711, 1, 2, {.timeout = 200ms}};
  });
  CHECK(unknown.how == ending::timeout);
  CHECK(unknown.says("at no-such-host.invalid:4711: has waited 200 ms for rank 0"));
}

TEST_CASE("ranks that never come are named on every rank, whoever loses patience") {
  for (const int impatient : {0, 2}) {
    const int port = free_port();
    const auto begin = clock::now();
    const auto all = run_threads(5, [&](int rank) {
      if (rank != 1 && rank != 3)
        tcp_rendezvous{here, port, rank, 5, {.timeout = rank == impatient ? 400ms : patient}};
    });
    for (const std::size_t rank : {0u, 2u, 4u}) {
      CHECK(all[rank].how == ending::timeout);
      CHECK_MESSAGE(all[rank].says("the first meeting at 127.0.0.1:" + std::to_string(port) +
                                   ": rank " + std::to_string(impatient) +
                                   " has waited 400 ms for ranks 1 and 3, which have not come"),
                    all[rank].text);
      CHECK(all[rank].says("allfold: rank " + std::to_string(rank) + ": "));
    }
    CHECK(clock::now() - begin < 5s);
    CHECK(clock::now() - begin >= 400ms);
  }
}

TEST_CASE("rank 0 never comes") {
  const int port = free_port();
  const auto begin = clock::now();
  const auto all = run_threads(3, [&](int rank) {
    if (rank != 0) tcp_rendezvous{here, port, rank, 3, {.timeout = 300ms}};
  });
  for (const std::size_t rank : {1u, 2u}) {
    CHECK(all[rank].how == ending::timeout);
    CHECK_MESSAGE(all[rank].says("has waited 300 ms for rank 0, which has not come: Connection "
                                 "refused"),
                  all[rank].text);
  }
  CHECK(clock::now() - begin < 3s);
}

TEST_CASE("garbage sent to the port") {
  std::mt19937 random{7};
  std::vector<std::string> words{"GET / HTTP/1.1\r\nHost: it\r\n\r\n",
                                 "x",
                                 "",
                                 std::string(100000, '\0'),
                                 hello(1, 3, "theirs"),
                                 hello(1, 3, "our"),
                                 hello(1, 3, "ourss"),
                                 hello(1, 3, ""),
                                 hello(1, 3, "ours").substr(0, 26),
                                 hello(1, 3, "ours").substr(0, 9)};
  std::string huge = hello(1, 3, "ours");
  for (const std::size_t i : {20u, 21u, 22u, 23u}) huge[i] = '\x7f';  // the length of its job
  words.push_back(huge);
  for (int i = 0; i < 50; ++i) {
    std::string bytes(random() % 200, '\0');
    for (char& each : bytes) each = static_cast<char>(random());
    words.push_back(bytes);
  }
  meet_beside(3, [&](int port) {
    std::vector<stranger> all(words.size());
    for (std::size_t i = 0; i < words.size(); ++i) {
      all[i].come(port);
      all[i].says(words[i]);
      if (i % 3 == 0) all[i].hang_up();
    }
    std::this_thread::sleep_for(500ms);
  });
}

TEST_CASE("strangers that are silent, slow or very many keep nobody out") {
  meet_beside(3, [](int port) {  // silent ones, more than there is room for
    std::vector<stranger> all(200);
    for (stranger& each : all) each.come(port);
    std::this_thread::sleep_for(600ms);
  });
  meet_beside(3, [](int port) {  // byte by byte
    stranger slow;
    slow.come(port);
    for (const char each : hello(1, 3, "ours").substr(0, 12)) {
      slow.says({each});
      std::this_thread::sleep_for(50ms);
    }
  });
  meet_beside(3, [](int port) {  // those of another job that never hang up
    std::vector<stranger> all(100);
    for (stranger& each : all) {
      each.come(port);
      each.says(hello(1, 3, "theirs") + std::string(10000, 'x'));
    }
    std::this_thread::sleep_for(600ms);
  });
}

TEST_CASE("who was turned away is told if the time is over, on every rank") {
  const int port = free_port();
  std::thread beside{[&] {
    stranger one, two, silent;
    one.come(port);
    one.says("GET / HTTP/1.1\r\nHost: it\r\n\r\n");
    two.come(port);
    two.says(hello(2, 3, "another job"));
    silent.come(port);
    CHECK(two.told() == "the first meeting at 127.0.0.1:" + std::to_string(port) +
                            ": the ranks that meet here are of another job");
    one.hears();
    silent.hears();
  }};
  const auto all = run_threads(2, [&](int rank) {
    tcp_rendezvous{here, port, rank, 3, {.timeout = rank == 0 ? 600ms : patient, .job = "our job"}};
  });
  beside.join();
  for (const outcome& each : all) {
    CHECK(each.how == ending::timeout);
    CHECK_MESSAGE(each.says("for rank 2, which has not come; 127.0.0.1:"), each.text);
    CHECK(each.says(" sent 24 bytes that are no rank's (\"GET / HTTP/1.1..\")"));
    CHECK(each.says(" is of another job"));
    CHECK_FALSE(each.says("our job"));
  }
}

TEST_CASE("a rank of another job") {
  const int port = free_port();
  const auto all = run_threads(3, [&](int thread) {
    if (thread == 2) tcp_rendezvous{here, port, 1, 2, {.timeout = patient, .job = "theirs"}};
    if (thread == 1) std::this_thread::sleep_for(300ms);
    tcp_rendezvous meets{here, port, thread, 2, {.timeout = patient, .job = "ours"}};
    CHECK(exchanges(meets, 0, 8));
  });
  CHECK(all[0].how == ending::returned);
  CHECK(all[1].how == ending::returned);
  CHECK(all[2].how == ending::mismatch);
  CHECK_MESSAGE(all[2].says("rank 1: the first meeting at 127.0.0.1:" + std::to_string(port) +
                            ": the ranks that meet here are of another job"),
                all[2].text);
  CHECK_FALSE(all[2].says("ours"));
  CHECK_FALSE(all[2].says("theirs"));
}

TEST_CASE("jobs are compared whole") {
  using allfold::detail::same_secret;
  CHECK(same_secret("", ""));
  CHECK(same_secret("abc", "abc"));
  for (const char* other : {"", "a", "ab", "abd", "xbc", "abcd", "abca", "abcabc", "ABC"}) {
    CHECK_FALSE(same_secret("abc", other));
    CHECK_FALSE(same_secret(other, "abc"));
  }
  CHECK_FALSE(same_secret(std::string_view{"a\0", 2}, "a"));
  CHECK_FALSE(same_secret("a", std::string_view{"a\0", 2}));
}

TEST_CASE("a rank that is there twice: the second is refused, the first goes on") {
  const int port = free_port();
  std::atomic<int> second{-1};
  const auto all = run_threads(4, [&](int thread) {
    if (thread == 1) std::this_thread::sleep_for(400ms);
    if (thread == 3) std::this_thread::sleep_for(200ms);
    tcp_rendezvous meets{here, port, thread == 3 ? 2 : thread, 3, {.timeout = patient}};
    CHECK(exchanges(meets, 0, 8));
  });
  for (const std::size_t rank : {0u, 1u, 2u})
    CHECK_MESSAGE(all[rank].how == ending::returned, all[rank].text);
  CHECK(all[3].how == ending::usage);
  CHECK_MESSAGE(all[3].says("rank 2: the first meeting at 127.0.0.1:" + std::to_string(port) +
                            ": this rank is taken already, by the process at 127.0.0.1:"),
                all[3].text);
}

TEST_CASE("a rank that is there twice while another is missing: all are told") {
  const int port = free_port();
  const auto all = run_threads(3, [&](int thread) {
    if (thread == 2) std::this_thread::sleep_for(500ms);
    tcp_rendezvous{here, port, std::min(thread, 1), 3, {.timeout = thread == 0 ? 1500ms : patient}};
  });
  for (const std::size_t rank : {0u, 1u}) {
    CHECK(all[rank].how == ending::timeout);
    CHECK_MESSAGE(all[rank].says("for rank 2, which has not come; a second rank 1, 127.0.0.1:"),
                  all[rank].text);
    CHECK(all[rank].says(", was turned away"));
  }
  CHECK(all[2].how == ending::usage);
}

TEST_CASE("ranks that disagree about their number: also who comes a little later hears it") {
  for (int odd = 0; odd < 3; ++odd) {
    const int port = free_port();
    const auto begin = clock::now();
    const auto all = run_threads(3, [&](int rank) {
      if (rank == 2) std::this_thread::sleep_for(150ms);
      tcp_rendezvous{here, port, rank, rank == odd ? 5 : 4, {.timeout = patient}};
    });
    const std::string other =
        odd == 0 ? "rank 1 says 4" : "rank " + std::to_string(odd) + " says 5";
    for (const outcome& each : all) {
      CHECK(each.how == ending::mismatch);
      CHECK_MESSAGE(each.says("the ranks disagree about their number: rank 0 says " +
                              std::string{odd == 0 ? "5, " : "4, "} + other),
                    each.text);
      CHECK(each.says("the first meeting at 127.0.0.1:" + std::to_string(port) + ": the ranks"));
    }
    CHECK(clock::now() - begin < 5s);
  }
}

TEST_CASE("another version of the library") {
  const int port = free_port();
  std::string told;
  std::thread beside{[&] {
    stranger other;
    other.come(port);
    other.says(hello(1, 2, "it", 2));
    told = other.told();
  }};
  const outcome ended = attempt([&] {
    tcp_rendezvous{here, port, 0, 2, {.timeout = patient, .job = "it"}};
  });
  beside.join();
  CHECK(ended.how == ending::mismatch);
  for (const std::string& text : {ended.text, told})
    CHECK_MESSAGE(text.find("the ranks are of different versions of the library: rank 0 speaks "
                            "version 1, rank 1 version 2") != std::string::npos,
                  text);
}

TEST_CASE("ranks that can't be, by one who knows the job") {
  const int port = free_port();
  std::thread beside{[&] {
    for (const int rank : {0, 2, 1000000, -1, -2147483647}) {
      stranger other;
      other.come(port);
      other.says(hello(rank, 2, "it"));
      CHECK(other.told() == "the first meeting at 127.0.0.1:" + std::to_string(port) +
                                ": this rank is taken already");
    }
  }};
  const auto all = run_threads(2, [&](int rank) {
    if (rank == 1) std::this_thread::sleep_for(400ms);
    tcp_rendezvous meets{here, port, rank, 2, {.timeout = patient, .job = "it"}};
    CHECK(exchanges(meets, 0, 8));
  });
  beside.join();
  check_returned(all);
}

TEST_CASE("ranks that bring different numbers of bytes") {
  for (const std::size_t more : {std::size_t{16}, std::size_t{20000000}}) {
    const int port = free_port();
    std::atomic<int> again{0};
    const auto all = run_threads(4, [&](int rank) {
      tcp_rendezvous meets{here, port, rank, 4, {.timeout = patient}};
      exchanges(meets, 0, 8);
      const outcome first = attempt([&] { exchanges(meets, 1, rank == 2 ? more : 8); });
      const outcome next = attempt([&] { exchanges(meets, 2, 8); });
      if (next.text == first.text && next.how == first.how) ++again;
      throw allfold::mismatch_error{first.text};
    });
    for (int rank = 0; rank < 4; ++rank)
      CHECK_MESSAGE(all[at(rank)].says("rank " + std::to_string(rank) +
                                       ": exchange #1 at 127.0.0.1:" + std::to_string(port) +
                                       ": the ranks exchange different numbers of bytes\n"
                                       "  ranks 0, 1 and 3: 8\n  rank 2: " +
                                       std::to_string(more)),
                    all[at(rank)].text);
    CHECK(again == 4);  // an error stays
  }
}

TEST_CASE("a rank that does not come to an exchange, whoever loses patience") {
  for (const int impatient : {0, 2}) {
    const int port = free_port();
    const auto all = run_threads(4, [&](int rank) {
      tcp_rendezvous meets{here, port, rank, 4, {.timeout = rank == impatient ? 300ms : patient}};
      exchanges(meets, 0, 8);
      if (rank == 1) std::this_thread::sleep_for(800ms);
      exchanges(meets, 1, 8);
    });
    for (int rank = 0; rank < 4; ++rank) {  // and the late one hears it
      CHECK(all[at(rank)].how == ending::timeout);
      CHECK_MESSAGE(all[at(rank)].says("exchange #1 at 127.0.0.1:" + std::to_string(port) +
                                       ": rank " + std::to_string(impatient) +
                                       " has waited 300 ms for rank 1, which has not come"),
                    all[at(rank)].text);
    }
  }
}

TEST_CASE("rank 0 does not come to an exchange") {
  const int port = free_port();
  const auto all = run_threads(3, [&](int rank) {
    tcp_rendezvous meets{here, port, rank, 3, {.timeout = 200ms}};
    exchanges(meets, 0, 8);
    if (rank == 0) std::this_thread::sleep_for(2s);
    const auto begin = clock::now();
    const outcome ended = attempt([&] { exchanges(meets, 1, 8); });
    if (rank != 0) {
      CHECK(clock::now() - begin < 1800ms);
      CHECK(ended.how == ending::timeout);
      CHECK_MESSAGE(ended.says("has waited 200 ms for rank 0, which does not answer"), ended.text);
    } else {
      CHECK(ended.how == ending::lost);  // the others have gone
    }
  });
  check_returned(all);
}

TEST_CASE("a rank that leaves while others need it; who has got everything may leave") {
  const int port = free_port();
  const auto all = run_threads(4, [&](int rank) {
    tcp_rendezvous meets{here, port, rank, 4, {.timeout = patient}};
    exchanges(meets, 0, 8);
    if (rank == 2) return;
    if (rank == 0) std::this_thread::sleep_for(100ms);
    exchanges(meets, 1, 8);
  });
  CHECK(all[2].how == ending::returned);
  for (const std::size_t rank : {0u, 1u, 3u}) {
    CHECK(all[rank].how == ending::lost);
    CHECK_MESSAGE(all[rank].says("exchange #1 at 127.0.0.1:" + std::to_string(port)),
                  all[rank].text);
    CHECK(all[rank].says("rank 2 has left or is lost: its connection (127.0.0.1:"));
  }
}

TEST_CASE("a process that is killed between two exchanges, rank 0's or another") {
  for (const int killed : {0, 1, 2}) {
    const int port = free_port();
    const auto begin = clock::now();
    std::vector<pid_t> children;
    for (int rank = 0; rank < 4; ++rank)
      children.push_back(begin_process([&, rank] {
        tcp_rendezvous meets{here, port, rank, 4, {.timeout = patient}};
        exchanges(meets, 0, 8);
        if (rank == killed) raise(SIGKILL);
        if (rank == 3) std::this_thread::sleep_for(300ms);  // hears it later than the others
        const outcome told = attempt([&] { exchanges(meets, 1, 8); });
        if (!told.says("rank " + std::to_string(killed) + " has left or is lost"))
          throw std::runtime_error{told.text};
        throw allfold::rank_lost_error{told.text};
      }));
    for (int rank = 0; rank < 4; ++rank)
      CHECK(end_of(children[at(rank)]) == (rank == killed ? ending::other : ending::lost));
    CHECK(clock::now() - begin < 10s);
  }
}

TEST_CASE("a process that has come and is killed while the others are awaited") {
  const int port = free_port();
  const pid_t child = begin_process([&] {
    tcp_rendezvous{here, port, 1, 4, {.timeout = patient}};
  });
  std::thread killer{[&] {
    std::this_thread::sleep_for(300ms);
    kill_process(child);
  }};
  const auto begin = clock::now();
  const auto all = run_threads(3, [&](int rank) {
    if (rank != 1) tcp_rendezvous{here, port, rank, 4, {.timeout = patient}};
  });
  killer.join();
  for (const std::size_t rank : {0u, 2u}) {
    CHECK(all[rank].how == ending::lost);
    CHECK_MESSAGE(all[rank].says("the first meeting at 127.0.0.1:" + std::to_string(port) +
                                 ": rank 1 has left or is lost"),
                  all[rank].text);
  }
  CHECK(clock::now() - begin < 10s);
}

TEST_CASE("a rank that is seated and talks garbage, or of more bytes than there are") {
  const std::string huge =
      tcp_frame{tcp_frame::type::bytes, 0, std::uint64_t{1} << 62}.packed_head();
  for (const std::string& words : {std::string(24, 'x'), huge}) {
    const int port = free_port();
    std::thread beside{[&] {
      stranger rank_1;
      rank_1.come(port);
      rank_1.says(hello(1, 3) + words);
      rank_1.hears();
    }};
    const auto all = run_threads(3, [&](int rank) {
      if (rank == 1) return;
      tcp_rendezvous meets{here, port, rank, 3, {.timeout = 5s}};
      exchanges(meets, 0, 8);
    });
    beside.join();
    for (const std::size_t rank : {0u, 2u}) {
      CHECK(all[rank].how == (words == huge ? ending::mismatch : ending::lost));
      CHECK_MESSAGE(all[rank].says(words == huge ? "  rank 1: 4611686018427387904"
                                                 : "rank 1 has left or is lost"),
                    all[rank].text);
    }
  }
}

TEST_CASE("something else listens where rank 0 should") {
  stranger server;
  const int port = server.listen();
  for (const std::string words :
       {"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "silence", "it hangs up"}) {
    std::atomic<bool> over{false};
    std::thread beside{[&] {
      while (!over) {
        stranger caller = server.accept();
        if (words[0] == 'H') caller.says(words);
        if (words[0] != 'i') caller.hears();
      }
    }};
    const outcome ended = attempt([&] { tcp_rendezvous{here, port, 1, 2, {.timeout = 400ms}}; });
    over = true;
    stranger last;
    CHECK(last.tries(port));
    last.hang_up();
    beside.join();
    CHECK(ended.how == (words[0] == 'H' ? ending::usage : ending::timeout));
    CHECK_MESSAGE(ended.says(words[0] == 'H'   ? "what answers there is no rank 0 of this library"
                             : words[0] == 's' ? "it has been reached, but says nothing"
                                               : "it has hung up: "),
                  ended.text);
  }
}

TEST_CASE("a process that is stopped") {
  const int port = free_port();
  const pid_t child = begin_process([&] {
    tcp_rendezvous meets{here, port, 1, 3, {.timeout = patient}};
    exchanges(meets, 0, 8);
    raise(SIGSTOP);
    exchanges(meets, 1, 8);
  });
  const auto all = run_threads(3, [&](int rank) {
    if (rank == 1) return;
    tcp_rendezvous meets{here, port, rank, 3, {.timeout = 500ms}};
    exchanges(meets, 0, 8);
    exchanges(meets, 1, 8);
  });
  kill_process(child);
  for (const std::size_t rank : {0u, 2u}) {
    CHECK(all[rank].how == ending::timeout);
    CHECK_MESSAGE(all[rank].says("for rank 1, which has not come"), all[rank].text);
  }
}

TEST_CASE("a fork's copy does not disturb") {
  const int port = free_port();
  const auto all = run_threads(2, [&](int rank) {
    tcp_rendezvous meets{here, port, rank, 2, {.timeout = patient}};
    CHECK(exchanges(meets, 0, 8));
    const pid_t child = fork();
    if (child == 0) {
      meets.~tcp_rendezvous();
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(exchanges(meets, 1, 8));
  });
  check_returned(all);
}

TEST_CASE("many more ranks than cores") {
  const int port = free_port();
  std::atomic<int> right{0};
  const auto all = run_threads(48, [&](int rank) {
    tcp_rendezvous meets{here, port, rank, 48, {.timeout = patient}};
    for (int round = 0; round < 5; ++round)
      if (exchanges(meets, round, 128)) ++right;
  });
  check_returned(all);
  CHECK(right == 48 * 5);
}

TEST_CASE("heads of frames") {
  const tcp_frame sent{tcp_frame::type::bytes, 0x0123456789abcdef, 77};
  tcp_frame taken;
  CHECK(taken.take_head(sent.packed_head()));
  CHECK(taken.kind == sent.kind);
  CHECK(taken.number == sent.number);
  CHECK(taken.payload == 77);
  const auto right = [](tcp_frame frame) { return tcp_frame{}.take_head(frame.packed_head()); };
  CHECK(right({tcp_frame::type::trouble, 1, tcp_frame::longest_text}));
  CHECK_FALSE(right({tcp_frame::type::trouble, 1, tcp_frame::longest_text + 1}));
  CHECK_FALSE(right({tcp_frame::type::seated, 1, 1}));
  CHECK_FALSE(right({static_cast<tcp_frame::type>(0), 1, 0}));
  CHECK_FALSE(right({static_cast<tcp_frame::type>(6), 1, 0}));
  CHECK_FALSE(taken.take_head(sent.packed_head().substr(1)));
  CHECK_FALSE(taken.take_head(sent.packed_head().substr(0, 23)));
}

#else

TEST_CASE("ranks that meet over TCP") {
  MESSAGE("skipped: there is no Asio; on Debian and Ubuntu: apt install libasio-dev");
}

#endif
