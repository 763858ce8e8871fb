#include "support/stranger.hpp"

#if __has_include(<asio/io_context.hpp>)

#include <allfold/launch/tcp_rendezvous.hpp>

#include <netdb.h>

#include <atomic>

namespace {

using namespace meeting;
using allfold::tcp_rendezvous;

const std::vector<int> sizes{1, 2, 3, 5, 8};

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
      for (const std::size_t bytes : {8u, 0u, 1u, 1000u, 0u, 1000000u, 8u})
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
    check_returned(run_threads(2, [&](int rank) {
      if (rank == 1) {
        stranger first, second;
        first.come(port);
        CHECK(second.tries(port, "127.0.0.2") == (address != "127.0.0.1"));
      }
      tcp_rendezvous{rank == 0 ? address : here, port, rank, 2, {.timeout = patient}};
    }));
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
  CHECK_MESSAGE(
      ended.says("at 192.0.2.1:4711: rank 1 has waited 200 ms for rank 0, which has not come: "),
      ended.text);
  const outcome unknown = attempt([&] {
    tcp_rendezvous{"no-such-host.invalid", 4711, 1, 2, {.timeout = 200ms}};
  });
  CHECK(unknown.how == ending::timeout);
  CHECK_MESSAGE(unknown.says("at no-such-host.invalid:4711: rank 1 has waited 200 ms for rank 0"),
                unknown.text);
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

#else

TEST_CASE("ranks that meet over TCP") {
  MESSAGE("skipped: there is no Asio; on Debian and Ubuntu: apt install libasio-dev");
}

#endif
