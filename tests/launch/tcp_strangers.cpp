#include "support/stranger.hpp"

#if __has_include(<asio/io_context.hpp>)

#include <allfold/launch/tcp_rendezvous.hpp>

#include <algorithm>
#include <atomic>
#include <random>

namespace {

using namespace meeting;
using allfold::tcp_rendezvous;

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
      CHECK(other.told() ==
            "the first meeting at 127.0.0.1:" + std::to_string(port) + ": " +
                (rank == 0 ? "this rank is taken already"
                           : "there is no rank " + std::to_string(rank) + " among 2 ranks"));
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

TEST_CASE("strangers at the port of ranks that meet") {
  MESSAGE("skipped: there is no Asio; on Debian and Ubuntu: apt install libasio-dev");
}

#endif
