#include <allfold/launch/rendezvous.hpp>

#include "support/meeting.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <atomic>
#include <fstream>

namespace {

using namespace meeting;
using allfold::file_rendezvous;

const std::vector<int> sizes{1, 2, 3, 5, 8};

void write_file(const std::string& path, const std::string& content) {
  std::ofstream{path, std::ios::binary} << content;
}
std::string prefix_of(const std::string& job) {
  return "allfold-" + allfold::detail::in_hex(allfold::hash_of(job)) + '-';
}

/// A folder as one more rank might see it that is none.
allfold::detail::shared_folder seen(const folder& place, const std::string& job = "") {
  return {place.path(), prefix_of(job), "", 1};
}
std::optional<allfold::detail::introduction> introduction_of(const folder& place, int rank,
                                                             const std::string& job = "") {
  const auto bytes = seen(place, job).read("rank" + std::to_string(rank));
  if (!bytes) return std::nullopt;
  return allfold::detail::introduction::unpacked(*bytes);
}
/// Waits until a rank lists `others` ranks besides itself.
bool rank_sees(const folder& place, int rank, std::size_t others) {
  return comes_true([&] {
    const auto its = introduction_of(place, rank);
    return its && its->seen.size() > others;
  });
}

}  // namespace

TEST_CASE("ranks get each other's bytes, and leave nothing") {
  for (const int size : sizes) {
    CAPTURE(size);
    const folder place;
    std::atomic<int> right{0};
    const auto all = run_threads(size, [&](int rank) {
      file_rendezvous meets{place.path(), rank, size, {.timeout = patient}};
      CHECK(meets.rank() == rank);
      CHECK(meets.size() == size);
      int round = 0;
      for (const std::size_t bytes : {8u, 0u, 1u, 1000u, 0u, 300000u})
        if (exchanges(meets, round++, bytes)) ++right;
    });
    for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
    CHECK(right == 6 * size);
    CHECK(place.names().empty());
  }
}

TEST_CASE("ranks that are processes") {
  for (const int size : sizes) {
    const folder place;
    std::vector<pid_t> children;
    for (int rank = 0; rank < size; ++rank)
      children.push_back(begin_process([&, rank] {
        file_rendezvous meets{place.path(), rank, size, {.timeout = patient, .job = "it"}};
        for (int round = 0; round < 20; ++round)
          if (!exchanges(meets, round, 64)) throw std::runtime_error{"wrong bytes"};
      }));
    for (const pid_t child : children) CHECK(end_of(child) == ending::returned);
    CHECK(place.names().empty());
  }
}

TEST_CASE("during the rounds there are two files a rank at most") {
  const folder place;
  std::atomic<std::size_t> most{0};
  run_threads(3, [&](int rank) {
    file_rendezvous meets{place.path(), rank, 3, {.timeout = patient}};
    for (int round = 0; round < 50; ++round) {
      exchanges(meets, round, 8);
      if (rank == 0) most = std::max<std::size_t>(most, place.names().size());
    }
  });
  CHECK(most <= 3 * 4);  // and the rank's own, and one that is being written
}

TEST_CASE("one folder and job, again and again without a pause") {
  const folder place;
  std::atomic<int> right{0};
  const auto all = run_threads(4, [&](int rank) {
    for (int use = 0; use < 60; ++use) {
      file_rendezvous meets{place.path(), rank, 4, {.timeout = patient}};
      if (exchanges(meets, use, 8)) ++right;
    }
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  CHECK(right == 4 * 60);
  CHECK(place.names().empty());
}

TEST_CASE("several jobs meet in one folder") {
  const folder place;
  std::atomic<int> right{0};
  const auto all = run_threads(6, [&](int thread) {
    const std::string job = "job " + std::to_string(thread / 2);
    file_rendezvous meets{place.path(), thread % 2, 2, {.timeout = patient, .job = job}};
    for (int round = 0; round < 20; ++round)
      if (exchanges(meets, round + 100 * (thread / 2), 8)) ++right;
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  CHECK(right == 6 * 20);
  CHECK(place.names().empty());
}

TEST_CASE("a rank that can't be") {
  const folder place;
  for (const auto& [rank, size] :
       std::vector<std::pair<int, int>>{{-1, 2}, {2, 2}, {0, 0}, {0, -1}}) {
    const outcome ended = attempt([&, rank = rank, size = size] {
      file_rendezvous{place.path(), rank, size};
    });
    CHECK(ended.how == ending::usage);
    CHECK(ended.says("no rank " + std::to_string(rank) + " among " + std::to_string(size)));
  }
  CHECK(place.names().empty());
}

TEST_CASE("a folder that is none, or can't be written") {
  const folder place;
  const std::string file = place.path() + "/file";
  write_file(file, "");
  for (const std::string& path : {place.path() + "/none", file}) {
    const outcome ended = attempt([&] { file_rendezvous{path, 0, 1}; });
    CHECK(ended.how == ending::usage);
    CHECK(ended.says("rank 0"));
    CHECK(ended.says("there is no folder " + path));
  }
  try {
    file_rendezvous{"/proc", 0, 1};
    CHECK(false);
  } catch (const allfold::process_error& error) {
    CHECK(std::string{error.what()}.find("rank 0: can't create /proc/allfold-") !=
          std::string::npos);
  }
}

TEST_CASE("ranks that never come are named on every rank") {
  const folder place;
  const auto begin = clock::now();
  const auto all = run_threads(5, [&](int rank) {
    // One gives up, and the others hear it.
    if (rank != 1 && rank != 3)
      file_rendezvous{place.path(), rank, 5, {.timeout = rank == 2 ? 400ms : patient}};
  });
  for (const std::size_t rank : {0u, 2u, 4u}) {
    CHECK(all[rank].how == ending::timeout);
    CHECK_MESSAGE(
        all[rank].says("the first meeting in " + place.path() +
                       ": rank 2 has waited 400 ms for ranks 1 and 3, which have not come"),
        all[rank].text);
  }
  CHECK(clock::now() - begin < 10s);
  CHECK(clock::now() - begin >= 400ms);
}

TEST_CASE("after that the same ranks can meet in the same folder") {
  const folder place;
  run_threads(3, [&](int rank) {
    if (rank != 1) file_rendezvous{place.path(), rank, 3, {.timeout = 50ms}};
  });
  CHECK_FALSE(place.names().empty());
  const auto all = run_threads(3, [&](int rank) {
    file_rendezvous meets{place.path(), rank, 3, {.timeout = patient}};
    CHECK(exchanges(meets, 0, 8));
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  CHECK(place.names().empty());
}

TEST_CASE("who waits in vain is told of another job's files") {
  const folder place;
  const auto all = run_threads(2, [&](int rank) {
    file_rendezvous{
        place.path(), rank, 2, {.timeout = 300ms, .job = rank == 0 ? "zero's" : "one's"}};
  });
  for (int rank = 0; rank < 2; ++rank) {
    CHECK(all[at(rank)].how == ending::timeout);
    CHECK(all[at(rank)].says("for rank " + std::to_string(1 - rank) + ", which has not come"));
    CHECK(all[at(rank)].says("there are files of another job"));
    CHECK_FALSE(all[at(rank)].says("zero's"));
    CHECK_FALSE(all[at(rank)].says("one's"));
  }
}

TEST_CASE("a job is not shown by the names of files, and these are their user's only") {
  const folder place;
  std::atomic<bool> right{true};
  run_threads(2, [&](int rank) {
    file_rendezvous meets{place.path(), rank, 2, {.timeout = patient, .job = "secret"}};
    exchanges(meets, 0, 8);
    for (const std::string& name : place.names()) {
      struct stat found {};
      if (stat((place.path() + '/' + name).c_str(), &found) != 0) continue;
      right = right && (found.st_mode & 077) == 0 && name.find("secret") == std::string::npos;
    }
    exchanges(meets, 1, 8);
  });
  CHECK(right);
}

TEST_CASE("a rank that is there twice: the second is refused, the first goes on") {
  for (const bool met : {false, true}) {
    const folder place;
    outcome second;
    const auto all = run_threads(2, [&](int rank) {
      const auto try_again = [&] {
        second = attempt([&] { file_rendezvous{place.path(), 1, 2, {.timeout = patient}}; });
      };
      if (rank == 0 && !met) {
        REQUIRE(rank_sees(place, 1, 0));
        try_again();
      }
      file_rendezvous meets{place.path(), rank, 2, {.timeout = patient}};
      if (rank == 0 && met) try_again();
      CHECK(exchanges(meets, 0, 8));
    });
    for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
    CHECK(second.how == ending::usage);
    CHECK_MESSAGE(second.says("rank 1: this rank is taken already, by process " +
                              std::to_string(getpid()) + " of host "),
                  second.text);
    CHECK(second.says(place.path() + '/' + prefix_of("") + "rank1"));
    CHECK(place.names().empty());
  }
}

TEST_CASE("ranks that disagree about their number") {
  const folder place;
  const auto begin = clock::now();
  const auto all = run_threads(4, [&](int rank) {
    if (rank == 3)  // the last one to come: who comes after all others have gone is not heard
      for (int other = 0; other < 3; ++other) REQUIRE(rank_sees(place, other, 2));
    file_rendezvous{place.path(), rank, rank == 3 ? 5 : 4, {.timeout = patient}};
  });
  for (const outcome& each : all) {
    CHECK(each.how == ending::mismatch);
    CHECK_MESSAGE(each.says("the ranks disagree about their number: rank "), each.text);
    CHECK(each.says("rank 3 says 5"));
    CHECK(each.says(" says 4"));
  }
  CHECK(clock::now() - begin < 10s);
}

TEST_CASE("ranks that bring different numbers of bytes") {
  const folder place;
  std::atomic<int> again{0};
  const auto all = run_threads(4, [&](int rank) {
    file_rendezvous meets{place.path(), rank, 4, {.timeout = patient}};
    exchanges(meets, 0, 8);
    const outcome first = attempt([&] { exchanges(meets, 1, rank == 2 ? 16 : 8); });
    const outcome next = attempt([&] { exchanges(meets, 2, 8); });
    if (next.text == first.text && next.how == first.how) ++again;
    throw allfold::mismatch_error{first.text};
  });
  for (int rank = 0; rank < 4; ++rank)
    CHECK_MESSAGE(
        all[at(rank)].says("rank " + std::to_string(rank) + ": exchange #1 in " + place.path() +
                           ": the ranks exchange different numbers of bytes\n"
                           "  ranks 0, 1 and 3: 8\n  rank 2: 16"),
        all[at(rank)].text);
  CHECK(again == 4);  // an error stays
  CHECK(place.names().empty());
}

TEST_CASE("a rank that does not come to an exchange") {
  const folder place;
  const auto all = run_threads(3, [&](int rank) {
    file_rendezvous meets{place.path(), rank, 3, {.timeout = rank == 1 ? patient : 300ms}};
    if (rank == 1) std::this_thread::sleep_for(600ms);
    exchanges(meets, 0, 8);
  });
  for (const std::size_t rank : {0u, 2u}) {
    CHECK(all[rank].how == ending::timeout);
    CHECK_MESSAGE(
        all[rank].says("exchange #0 in " + place.path() + ": rank " + std::to_string(rank) +
                       " has waited 300 ms for rank 1, which has not come"),
        all[rank].text);
  }
}

TEST_CASE("a rank that leaves while others need it") {
  const folder place;
  const auto begin = clock::now();
  const auto all = run_threads(3, [&](int rank) {
    file_rendezvous meets{place.path(), rank, 3, {.timeout = patient}};
    exchanges(meets, 0, 8);
    if (rank != 1) exchanges(meets, 1, 8);
  });
  for (const std::size_t rank : {0u, 2u}) {
    CHECK(all[rank].how == ending::lost);
    CHECK_MESSAGE(all[rank].says("exchange #1 in " + place.path() + ": rank 1 has left"),
                  all[rank].text);
  }
  CHECK(clock::now() - begin < 10s);
  CHECK(place.names().empty());
}

TEST_CASE("a process that is killed between two exchanges; the next start tidies up") {
  const folder place;
  const auto begin = clock::now();
  std::vector<pid_t> children;
  for (int rank = 0; rank < 3; ++rank)
    children.push_back(begin_process([&, rank] {
      file_rendezvous meets{place.path(), rank, 3, {.timeout = patient}};
      exchanges(meets, 0, 8);
      if (rank == 1) raise(SIGKILL);
      const outcome told = attempt([&] { exchanges(meets, 1, 8); });
      if (!told.says("rank 1 is lost: process ")) throw std::runtime_error{told.text};
      throw allfold::rank_lost_error{told.text};
    }));
  CHECK(end_of(children[0]) == ending::lost);
  CHECK(end_of(children[1]) == ending::other);  // killed
  CHECK(end_of(children[2]) == ending::lost);
  CHECK(clock::now() - begin < 10s);
  CHECK_FALSE(place.names().empty());

  const auto all = run_threads(2, [&](int rank) {  // also by another number of ranks
    file_rendezvous meets{place.path(), rank, 2, {.timeout = patient}};
    CHECK(exchanges(meets, 0, 8));
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  CHECK(place.names().empty());
}

TEST_CASE("processes that are killed while they come together, and a start after that") {
  for (int killed = 0; killed < 3; ++killed) {
    const folder place;
    std::vector<pid_t> children;
    for (int rank = 0; rank < 2; ++rank)
      children.push_back(begin_process([&, rank] {
        file_rendezvous{place.path(), rank, 3, {.timeout = patient}};
      }));
    REQUIRE(rank_sees(place, 0, 1));
    REQUIRE(rank_sees(place, 1, 1));
    if (killed < 2) {  // the other is told long before its time is over
      kill_process(children[at(killed)]);
      CHECK(end_of(children[at(1 - killed)]) == ending::lost);
    } else {
      for (const pid_t child : children) kill_process(child);
    }
    const auto all = run_threads(4, [&](int rank) {
      file_rendezvous meets{place.path(), rank, 4, {.timeout = patient}};
      CHECK(exchanges(meets, 0, 8));
    });
    for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
    CHECK(place.names().empty());
  }
}

TEST_CASE("a rank of another machine that may have ended: it is said what to remove") {
  const folder place;
  allfold::detail::introduction old{.rank = 0, .size = 2, .nonce = 7};
  old.process = {"far.example", "another start", 4711, 12};
  seen(place).write("rank0", old.packed());
  const outcome ended = attempt([&] { file_rendezvous{place.path(), 0, 2, {.timeout = patient}}; });
  CHECK(ended.how == ending::usage);
  CHECK(ended.says("by process 4711 of host far.example"));
  CHECK(ended.says(prefix_of("") + "rank0 says so; if that process has ended, remove it"));

  // For the others it is not there.
  const outcome waited = attempt([&] { file_rendezvous{place.path(), 1, 2, {.timeout = 50ms}}; });
  CHECK(waited.how == ending::timeout);
  CHECK_MESSAGE(waited.says("for rank 0, which has not come; there is an old file of rank 0, by "
                            "process 4711 of host far.example as one of 2 ranks"),
                waited.text);
}

TEST_CASE("a process of this machine that has ended, and whose number another one has") {
  const folder place;
  allfold::detail::introduction old{.rank = 0, .size = 1, .nonce = 7};
  old.process = allfold::detail::process_identity::own();
  --old.process.begin;
  seen(place).write("rank0", old.packed());
  file_rendezvous meets{place.path(), 0, 1, {.timeout = patient}};
  CHECK(exchanges(meets, 0, 8));
}

TEST_CASE("files that no rank has written are refused by their names") {
  const std::string whole = [] {
    const folder place;
    allfold::detail::introduction it{.rank = 1, .size = 2, .nonce = 7};
    seen(place).write("rank1", it.packed());
    std::ifstream file{place.path() + '/' + prefix_of("") + "rank1", std::ios::binary};
    return std::string{std::istreambuf_iterator<char>{file}, {}};
  }();
  std::vector<std::string> contents{"", "x", std::string(1000, '\0'), std::string(1000, '\xff'),
                                    whole + 'x'};
  for (std::size_t length = 0; length < whole.size(); length += 5)
    contents.push_back(whole.substr(0, length));
  for (std::size_t i = 0; i < whole.size(); i += 3) {
    contents.push_back(whole);
    contents.back()[i] = static_cast<char>(contents.back()[i] ^ 4);
  }
  for (const std::string& content : contents)
    for (int rank = 0; rank < 2; ++rank) {  // the file of another, and one's own
      const folder place;
      const std::string path = place.path() + '/' + prefix_of("") + "rank1";
      write_file(path, content);
      const outcome ended = attempt([&] {
        file_rendezvous{place.path(), rank, 2, {.timeout = 5s}};
      });
      CHECK(ended.how == ending::usage);
      CHECK_MESSAGE(ended.says(path + " holds " + std::to_string(content.size()) +
                               " bytes that no rank has written"),
                    ended.text);
    }
}

TEST_CASE("a file of another version of the library, or with another job's name") {
  const folder place;
  allfold::detail::introduction it{.rank = 1, .size = 2, .nonce = 7};
  std::string bytes = it.packed();
  bytes[0] = 99;
  seen(place).write("rank1", bytes);
  const outcome version = attempt([&] { file_rendezvous{place.path(), 0, 2, {.timeout = 5s}}; });
  CHECK(version.how == ending::mismatch);
  CHECK(version.says(prefix_of("") + "rank1 is by another version of the library"));
  seen(place).write("rank1", it.packed() + "more");
  CHECK(attempt([&] {
          file_rendezvous{place.path(), 0, 2, {.timeout = 5s}};
        }).how == ending::mismatch);
  it.job = "another";
  seen(place).write("rank1", it.packed());
  const outcome job = attempt([&] { file_rendezvous{place.path(), 0, 2, {.timeout = 5s}}; });
  CHECK(job.how == ending::mismatch);
  CHECK(job.says(prefix_of("") + "rank1 is of another job"));
}

TEST_CASE("garbage in the place of a rank's bytes") {
  const folder place;
  std::atomic<bool> placed{false};
  const auto all = run_threads(2, [&](int rank) {
    file_rendezvous meets{place.path(), rank, 2, {.timeout = 5s}};
    exchanges(meets, 0, 8);
    if (rank == 1) {
      comes_true([&] { return placed.load(); });
      return;
    }
    for (const std::string& name : place.names())
      if (name.ends_with("-1-0"))
        write_file(place.path() + '/' + name.substr(0, name.size() - 3) + "2-1", "garbage");
    const outcome told = attempt([&] { exchanges(meets, 1, 8); });
    placed = true;
    CHECK(told.how == ending::usage);
    CHECK_MESSAGE(told.says("-2-1 holds 7 bytes that no rank has written: remove it"), told.text);
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
}

TEST_CASE("a rank's file that is removed meanwhile") {
  const folder place;
  const auto all = run_threads(2, [&](int rank) {
    if (rank == 0) {
      file_rendezvous{place.path(), 0, 2, {.timeout = patient}};
    } else {
      REQUIRE(rank_sees(place, 0, 0));
      unlink((place.path() + '/' + prefix_of("") + "rank0").c_str());
    }
  });
  CHECK(all[0].how == ending::usage);
  CHECK(all[0].says("this rank was taken over: its file was removed"));
}

TEST_CASE("a fork's copy does not leave") {
  const folder place;
  const auto all = run_threads(2, [&](int rank) {
    file_rendezvous meets{place.path(), rank, 2, {.timeout = patient}};
    if (rank == 0) {
      const pid_t child = fork();
      if (child == 0) {
        meets.~file_rendezvous();
        _exit(0);
      }
      int status = 0;
      waitpid(child, &status, 0);
      CHECK(introduction_of(place, 0));
      for (const std::string& name : place.names()) CHECK_FALSE(name.ends_with("left-0"));
    }
    CHECK(exchanges(meets, 0, 8));
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  CHECK(place.names().empty());
}

TEST_CASE("many more ranks than cores") {
  const folder place;
  std::atomic<int> right{0};
  const auto all = run_threads(32, [&](int rank) {
    file_rendezvous meets{place.path(), rank, 32, {.timeout = patient}};
    for (int round = 0; round < 3; ++round)
      if (exchanges(meets, round, 8)) ++right;
  });
  for (const outcome& each : all) CHECK_MESSAGE(each.how == ending::returned, each.text);
  CHECK(right == 32 * 3);
  CHECK(place.names().empty());
}
