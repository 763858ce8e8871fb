// Ranks that can't share memory, since they are not where rank 0 is or want different things.
#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "support/exchanging.hpp"
#include "support/forked.hpp"
#include "support/world.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace {

using allfold::processes::copying;
using allfold::processes::meeting_card;
using allfold::processes::options;

const options quick{.timeout = std::chrono::seconds{60}, .arena_bytes = std::size_t{1} << 20};
constexpr int ranks = 3;

struct ending {
  bool connected = false, usage = false, mismatch = false;
  std::string text;
};

/// Three ranks meet, each a thread; rank 1 sees rank 0's card as `alter` leaves it.
std::array<ending, ranks> meet(const std::function<void(meeting_card&)>& alter,
                               const std::array<options, ranks>& how = {quick, quick, quick}) {
  std::array<ending, ranks> endings;
  allfold::spawn(ranks, [&](allfold::threads::communicator& threads) {
    const auto rank = static_cast<std::size_t>(threads.rank());
    test::thread_exchange by{threads};
    const auto exchange = [&](const void* mine, std::size_t size, void* all) {
      by(mine, size, all);
      if (rank != 1) return;
      meeting_card seen;
      std::memcpy(&seen, all, sizeof seen);
      alter(seen);
      std::memcpy(all, &seen, sizeof seen);
    };
    ending& mine = endings[rank];
    try {
      test::world world{threads.rank(), ranks, exchange, how[rank]};
      std::vector<int> data(1000, 1);
      allfold::all_reduce(world, data);
      mine.connected = data[999] == ranks;
    } catch (const allfold::usage_error& thrown) {
      mine = {.usage = true, .text = thrown.what()};
    } catch (const allfold::mismatch_error& thrown) {
      mine = {.mismatch = true, .text = thrown.what()};
    } catch (const allfold::error& thrown) {
      mine.text = thrown.what();
    }
  });
  return endings;
}

void check_refused(const std::function<void(meeting_card&)>& alter) {
  for (const ending& each : meet(alter)) {
    CHECK_MESSAGE(each.usage, each.text);
    CHECK_MESSAGE(each.text.find(": rank 1 (process ") != std::string::npos, each.text);
    CHECK_MESSAGE(
        each.text.find(" does not find the memory of rank 0 (process ") != std::string::npos,
        each.text);
  }
}

/// Open as a file that is not the library's, of so many bytes, all 'x'.
class foreign_file {
 public:
  explicit foreign_file(std::size_t bytes)
      : descriptor_{memfd_create("foreign", 0)}, content_(bytes, 'x') {
    REQUIRE(write(descriptor_, content_.data(), bytes) == static_cast<ssize_t>(bytes));
  }
  ~foreign_file() { close(descriptor_); }
  foreign_file(const foreign_file&) = delete;
  foreign_file& operator=(const foreign_file&) = delete;
  int descriptor() const { return descriptor_; }
  bool unchanged() const {
    std::string now(content_.size(), ' ');
    return pread(descriptor_, now.data(), now.size(), 0) == static_cast<ssize_t>(now.size()) &&
           now == content_;
  }

 private:
  int descriptor_;
  std::string content_;
};

}  // namespace

TEST_CASE("ranks that find the memory work in it") {
  for (const ending& each : meet([](meeting_card&) {})) CHECK_MESSAGE(each.connected, each.text);
}

TEST_CASE("a rank that would find something else is named, and what it finds is let alone") {
  const foreign_file file{allfold::processes::region_bytes(ranks, quick)};
  check_refused([&](meeting_card& it) { it.memory.descriptor = file.descriptor(); });
  CHECK(file.unchanged());
}

TEST_CASE("each thing by which the memory is known is looked at") {
  check_refused([](meeting_card& it) { it.memory.device ^= 1; });
  check_refused([](meeting_card& it) { it.memory.inode ^= 1; });
  check_refused([](meeting_card& it) { it.memory.bytes += 4096; });
  check_refused([](meeting_card& it) { it.memory.number ^= 1; });
}

TEST_CASE("a rank that finds nothing at all is named") {
  check_refused([](meeting_card& it) { it.memory.process = 0x3fffffff; });
  check_refused([](meeting_card& it) { it.memory.descriptor = 0x3fffffff; });
}

TEST_CASE("a rank where the numbers of processes mean something else is named") {
  check_refused([](meeting_card& it) { it.numbering[0] = '?'; });
}

TEST_CASE("a rank in another namespace of processes is named") {
  if (const int made = fork(); made == 0) {
    _exit(unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0 ? 0 : 1);
  } else if (test::wait_for_child(made, std::chrono::seconds{10}) != 0) {
    MESSAGE("skipped: the system gives no namespace of processes");
    return;
  }
  const auto refused = [](allfold::processes::communicator& team) {
    try {
      test::world{team.rank(), team.size(), test::exchange_by(team), quick};
    } catch (const allfold::usage_error& thrown) {
      return std::string{thrown.what()}.find(": rank 1 (process 1 of host ") != std::string::npos;
    }
    return false;
  };
  options by_region = quick;
  by_region.copying = copying::through_region;
  const auto endings = allfold::try_spawn_processes(
      2,
      [&](allfold::processes::communicator& team) {
        if (team.rank() == 0) _exit(refused(team) ? 0 : 7);
        if (unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) _exit(8);
        const pid_t child = fork();  // the first in the namespace
        if (child == 0) _exit(refused(team) ? 0 : 9);
        const int status = test::wait_for_child(child, std::chrono::seconds{30});
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 10);
      },
      by_region);
  for (const auto& each : endings) CHECK_MESSAGE(each.good(), each.in_words());
}

TEST_CASE("ranks that are to copy in different ways are told so") {
  std::array<options, ranks> how{quick, quick, quick};
  how[2].copying = copying::through_region;
  how[0].copying = how[1].copying = copying::once;
  const auto endings = meet([](meeting_card&) {}, how);
  for (const ending& each : endings) CHECK_MESSAGE(each.mismatch, each.text);
  CHECK(endings[0].text == "allfold: rank 0 has copying::once, rank 2 has copying::through_region");
  CHECK(endings[2].text == "allfold: rank 2 has copying::through_region, rank 0 has copying::once");
}
