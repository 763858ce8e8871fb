// Ranks that are processes: each sees the others' memory at other addresses than they do, as with
// CUDA IPC. The bodies of the kernels find it all the same.
#include <allfold/allfold.hpp>

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <new>

#include "support/blocks.hpp"
#include "support/sanitizers.hpp"

// Threads behind a fork are not for ThreadSanitizer.
#if !TEST_THREAD_SANITIZER

namespace {

namespace device = allfold::device;
using allfold::partition;
using allfold::sum;

constexpr int most_ranks = 4;
constexpr int lanes = 2;
constexpr int threads = 3;
constexpr std::size_t arena_bytes = 1 << 16;
constexpr std::size_t count = 1009;
constexpr std::size_t slot_words = 1024;

/// What all processes see at the same address, because it was there before they parted.
struct common {
  device::lane_state states[most_ranks][lanes];
  std::uint64_t slots[most_ranks][2 * most_ranks * slot_words];
  device::failure_report report;
  std::byte* arenas[most_ranks];  ///< where each rank has its own
  std::atomic<int> arrived;
};

common& shared_memory() {
  void* const memory =
      mmap(nullptr, sizeof(common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  return *new (memory) common{};
}

/// Maps a file's pages, away from where other processes have them.
std::byte* mapped(int file, std::size_t away) {
  mmap(nullptr, (away + 1) * 7 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* const memory = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

/// One process's part.
class process {
 public:
  process(common& shared, const int* files, int rank, int size) : shared_{shared}, rank_{rank} {
    own_ = mapped(files[rank], static_cast<std::size_t>(rank));
    shared_.arenas[rank] = own_;
    all_.size = size;
    all_.slot_words = slot_words;
    all_.failure = &shared_.report;
    all_.patience = 60'000'000'000;
    meet();
    for (int peer = 0; peer < size; ++peer) {
      all_.states[peer] = shared_.states[peer];
      all_.slots[peer] = shared_.slots[peer];
      if (peer == rank) continue;
      const std::byte* its = mapped(files[peer], static_cast<std::size_t>(rank + peer));
      // The system may have come to the same place; the next one is another.
      if (its == shared_.arenas[peer]) its = mapped(files[peer], 0);
      all_.shifts[peer] = its - shared_.arenas[peer];
      moved_ = moved_ && all_.shifts[peer] != 0;
    }
  }

  /// Folds numbers in place by `Schedule` and says whether the result is right.
  template <class Schedule>
  bool folds() {
    int* const data = reinterpret_cast<int*>(own_);
    for (std::size_t i = 0; i < count; ++i) data[i] = rank_ * 1000 + static_cast<int>(i);
    const Schedule plan{};
    const partition parts{count, plan.chunks(all_.size), 1, 16};
    device::launch<Schedule, sum> told{
        {plan, {}, parts, {}, device::slice_granule<int>, 42, 0}, all_, lanes, 0, 0, {}};
    device::seat(told, {rank_, own_, own_, own_ + arena_bytes / 2});
    if (!test::run_blocks<int>(told, threads)) return false;
    const int ranks = all_.size;
    for (std::size_t i = 0; i < count; ++i)
      if (data[i] != 500 * ranks * (ranks - 1) + ranks * static_cast<int>(i)) return false;
    return true;
  }
  bool sees_others_elsewhere() const { return moved_; }

 private:
  void meet() {
    ++shared_.arrived;
    while (shared_.arrived < all_.size) std::this_thread::yield();
  }

  common& shared_;
  int rank_;
  std::byte* own_ = nullptr;
  device::group all_{};
  bool moved_ = true;
};

/// The exit status of a process that has done its part.
int live(common& shared, const int* files, int rank, int size) {
  process mine{shared, files, rank, size};
  if (!mine.sees_others_elsewhere()) return 2;
  for (int round = 0; round < 3; ++round) {
    const bool right = mine.folds<allfold::direct>() && mine.folds<allfold::ring>() &&
                       mine.folds<allfold::one_shot>() && mine.folds<allfold::tree>() &&
                       mine.folds<allfold::halving_doubling>() && mine.folds<allfold::primary<0>>();
    if (!right) return 1;
  }
  return 0;
}

}  // namespace

TEST_CASE("processes that map each other's memory anywhere") {
  for (int size = 2; size <= most_ranks; ++size) {
    common& shared = shared_memory();
    int files[most_ranks]{};
    for (int rank = 0; rank < size; ++rank) {
      files[rank] = memfd_create("arena", 0);
      REQUIRE(ftruncate(files[rank], arena_bytes) == 0);
    }
    std::vector<pid_t> children;
    for (int rank = 0; rank < size; ++rank) {
      const pid_t child = fork();
      REQUIRE(child >= 0);
      if (child == 0) _exit(live(shared, files, rank, size));
      children.push_back(child);
    }
    for (const pid_t child : children) {
      int status = 0;
      REQUIRE(waitpid(child, &status, 0) == child);
      CHECK(WIFEXITED(status));
      CHECK(WEXITSTATUS(status) == 0);
    }
    for (int rank = 0; rank < size; ++rank) close(files[rank]);
    munmap(&shared, sizeof(common));
  }
}

#else

TEST_CASE("processes that map each other's memory anywhere") {
  MESSAGE("skipped: ThreadSanitizer does not follow threads behind a fork");
}

#endif
