// Ranks that are processes: forked, or found by an exchange of a few bytes.
#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include "support/exchanging.hpp"
#include "support/forked.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

namespace {

using allfold::process_ending;
using allfold::spawn_processes;
using allfold::try_spawn_processes;
using allfold::processes::copying;
using allfold::processes::options;
using world_type = allfold::processes::communicator;

const options quick{.timeout = std::chrono::seconds{60}, .arena_bytes = std::size_t{64} << 20};

/// Throws in a rank's process, so that its parent hears of it.
void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error{what};
}
#define REQUIRE_HERE(condition) require(condition, "line " + std::to_string(__LINE__))

std::vector<float> filled(int rank, std::size_t count) {
  std::vector<float> made(count);
  for (std::size_t i = 0; i < count; ++i)
    made[i] = static_cast<float>(rank + 1) * static_cast<float>(i % 97);
  return made;
}
bool holds_sums(const auto& found, int ranks) {
  const auto all = static_cast<float>(ranks * (ranks + 1) / 2);
  for (std::size_t i = 0; i < found.size(); ++i)
    if (found[i] != all * static_cast<float>(i % 97)) return false;
  return true;
}

template <class Algorithm>
void sum_everywhere(world_type& world) {
  for (const std::size_t count : {1u, 100u, 5000u, 300'001u}) {
    std::vector<float> plain = filled(world.rank(), count);
    allfold::all_reduce<Algorithm>(world, plain);
    REQUIRE_HERE(holds_sums(plain, world.size()));
    const auto shared = world.allocate<float>(count);
    const std::vector<float> values = filled(world.rank(), count);
    std::copy(values.begin(), values.end(), shared.begin());
    allfold::all_reduce<Algorithm>(world, shared);
    REQUIRE_HERE(holds_sums(shared, world.size()));
    // Some ranks' operands in shared memory, others' not.
    std::vector<float> mixed = values;
    std::copy(values.begin(), values.end(), shared.begin());
    if (world.rank() % 2 == 0)
      allfold::all_reduce<Algorithm>(world, mixed);
    else
      allfold::all_reduce<Algorithm>(world, shared);
    REQUIRE_HERE(world.rank() % 2 == 0 ? holds_sums(mixed, world.size())
                                       : holds_sums(shared, world.size()));
  }
}

/// How many memfds of the library's this process has open.
int open_regions() {
  int found = 0;
  for (const auto& each : std::filesystem::directory_iterator{"/proc/self/fd"}) {
    std::error_code none;
    const auto target = std::filesystem::read_symlink(each.path(), none).string();
    if (target.find("memfd:allfold") != std::string::npos) ++found;
  }
  return found;
}
int mapped_regions() {
  std::ifstream maps{"/proc/self/maps"};
  int found = 0;
  for (std::string line; std::getline(maps, line);)
    if (line.find("memfd:allfold") != std::string::npos) ++found;
  return found;
}

/// Gives all ranks all ranks' bytes through their parent, which copies them by `serve_exchanges`.
class parent_exchange {
 public:
  explicit parent_exchange(int ranks) : ends_(static_cast<std::size_t>(ranks)) {
    for (auto& each : ends_)
      if (socketpair(AF_UNIX, SOCK_STREAM, 0, each.data()) != 0)
        throw std::runtime_error{"socketpair"};
  }
  ~parent_exchange() {
    for (const auto& each : ends_)
      for (const int end : each) close(end);
  }
  /// A rank's side.
  auto of(int rank) {
    return [this, rank](const void* mine, std::size_t size, void* all) {
      const int end = ends_[static_cast<std::size_t>(rank)][1];
      if (write(end, mine, size) != static_cast<ssize_t>(size)) throw std::runtime_error{"write"};
      read_all(end, all, size * ends_.size());
    };
  }
  /// The parent's: carries out one exchange of `size` bytes, and returns what all have sent.
  std::vector<char> serve(std::size_t size) {
    std::vector<char> all(size * ends_.size());
    for (std::size_t i = 0; i < ends_.size(); ++i)
      read_all(ends_[i][0], all.data() + i * size, size);
    for (const auto& each : ends_)
      if (write(each[0], all.data(), all.size()) != static_cast<ssize_t>(all.size()))
        throw std::runtime_error{"write"};
    return all;
  }

 private:
  static void read_all(int from, void* to, std::size_t size) {
    auto* at = static_cast<char*>(to);
    while (size > 0) {
      const ssize_t got = read(from, at, size);
      if (got <= 0) throw std::runtime_error{"read"};
      at += got;
      size -= static_cast<std::size_t>(got);
    }
  }
  std::vector<std::array<int, 2>> ends_;
};

/// From now on the system refuses this process to read others' memory. False if it takes no
/// filters.
bool refuse_reading() {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(rules)), rules};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}
bool takes_filters() {
  const pid_t tries = fork();
  if (tries == 0) _exit(refuse_reading() ? 0 : 1);
  return test::wait_for_child(tries, std::chrono::seconds{10}) == 0;
}

/// Three processes that meet anew, of which rank 1 may not read others' memory.
template <class Body>
void run_with_one_that_may_not_read(copying how, Body body) {
  options with = quick;
  with.copying = copying::through_region;  // whatever it is that they meet by
  spawn_processes(
      3,
      [&](world_type& team) {
        if (team.rank() == 1) REQUIRE_HERE(refuse_reading());
        options mine = quick;
        mine.copying = how;
        body([&] { return world_type{team.rank(), team.size(), test::exchange_by(team), mine}; });
      },
      with);
}

}  // namespace

TEST_CASE("forked ranks reduce what lies in their own memory, in shared memory, or in either") {
  for (const auto how : {copying::once, copying::through_region})
    for (const int ranks : {1, 2, 3, 5}) {
      options with = quick;
      with.copying = how;
      spawn_processes(
          ranks,
          [&](world_type& world) {
            REQUIRE_HERE(world.copies_once() == (how == copying::once));
            sum_everywhere<allfold::direct>(world);
            sum_everywhere<allfold::ring>(world);
            sum_everywhere<allfold::tree>(world);
          },
          with);
    }
}

TEST_CASE("one rank that may not read others' memory: all copy through the shared memory") {
  if (!takes_filters()) {
    MESSAGE("skipped: the system takes no seccomp filters");
    return;
  }
  run_with_one_that_may_not_read(copying::automatic, [](auto meet) {
    world_type world = meet();
    REQUIRE_HERE(!world.copies_once());
    sum_everywhere<allfold::direct>(world);
    sum_everywhere<allfold::ring>(world);
    world_type part = world.split(0);
    REQUIRE_HERE(!part.copies_once());
    sum_everywhere<allfold::direct>(part);
  });
}

TEST_CASE("one rank that may not read others' memory, and is to: all ranks hear of it") {
  if (!takes_filters()) {
    MESSAGE("skipped: the system takes no seccomp filters");
    return;
  }
  run_with_one_that_may_not_read(copying::once, [](auto meet) {
    std::string text;
    try {
      meet();
    } catch (const allfold::process_error& thrown) {
      text = thrown.what();
    }
    REQUIRE_HERE(text.find("the system does not let ranks read each other's memory") !=
                 std::string::npos);
  });
}

TEST_CASE("a wrong result in a rank's process is heard of by its parent") {
  CHECK_THROWS_AS(spawn_processes(
                      2, [](world_type& world) { REQUIRE_HERE(world.size() == 3); }, quick),
                  allfold::rank_lost_error);
}

TEST_CASE("ranks are split and have companions") {
  spawn_processes(
      5,
      [](world_type& world) {
        world_type half = world.split(world.rank() % 2, -world.rank());
        REQUIRE_HERE(half.size() == (world.rank() % 2 == 0 ? 3 : 2));
        REQUIRE_HERE(half.rank() ==
                     (world.rank() % 2 == 0 ? 2 - world.rank() / 2 : 1 - world.rank() / 2));
        std::vector<int> ranks(20000, world.rank());
        allfold::all_reduce<allfold::ring>(half, ranks);
        REQUIRE_HERE(ranks[19999] == (world.rank() % 2 == 0 ? 6 : 4));
        world_type other = world.companion();
        std::vector<int> counts(20000, 1);
        const auto before = world.traffic();
        allfold::all_reduce<allfold::direct>(other, counts);
        REQUIRE_HERE(counts[777] == 5);
        REQUIRE_HERE(world.traffic().calls == before.calls + 1);
        REQUIRE_HERE(world.traffic().bytes_read == before.bytes_read + 80000);
        world_type third = half.split(0);
        REQUIRE_HERE(third.gather(world.rank())[0] == (world.rank() % 2 == 0 ? 4 : 3));
      },
      quick);
}

TEST_CASE("teams that are over give their memory back") {
  spawn_processes(
      3,
      [](world_type& world) {
        std::size_t most = 0, last = 0;
        for (int i = 0; i < 200; ++i) {
          world_type part = world.split(0);
          allfold::barrier(part);
          last = world.shared()->world()->heap().used();
          most = std::max(most, last);
        }
        // Two or three teams at most: one is lent while the former is not yet left by all.
        REQUIRE_HERE(most <= 4 * allfold::processes::team_state::bytes_for(3));
      },
      quick);
}

TEST_CASE("ranks that were started otherwise find each other by an exchange") {
  constexpr int ranks = 3;
  parent_exchange exchange{ranks};
  std::vector<pid_t> children;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t made = fork();
    if (made == 0) {
      int status = 1;
      try {
        const auto asks = [&, by = exchange.of(rank)](const void* mine, std::size_t size,
                                                      void* all) {
          const auto length = static_cast<std::uint64_t>(size);
          char lengths[8 * ranks];
          by(&length, 8, lengths);
          by(mine, size, all);
        };
        world_type world{rank, ranks, asks, quick};
        sum_everywhere<allfold::direct>(world);
        status = world.copies_once() && open_regions() == 0 && mapped_regions() > 0 ? 0 : 2;
      } catch (const std::exception& thrown) {
        std::fprintf(stderr, "rank %d: %s\n", rank, thrown.what());
      }
      _exit(status);
    }
    children.push_back(made);
  }
  for (int round = 0; round < 2; ++round) {
    std::uint64_t length = 0;
    std::memcpy(&length, exchange.serve(8).data(), 8);
    exchange.serve(length);
  }
  for (const pid_t child : children) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  }
  CHECK(open_regions() == 0);
}

TEST_CASE("a rank that can't be is refused") {
  const auto never = [](const void*, std::size_t, void*) { FAIL("must not be called"); };
  CHECK_THROWS_WITH_AS((world_type{3, 3, never}),
                       "allfold: there is no rank 3 among 3 ranks of a processes::communicator",
                       allfold::usage_error);
  CHECK_THROWS_AS((world_type{-1, 3, never}), allfold::usage_error);
  CHECK_THROWS_AS(spawn_processes(0, [](world_type&) {}), allfold::usage_error);
}

TEST_CASE("ranks with different arenas are told so") {
  const auto endings = try_spawn_processes(1, [](world_type&) {
    const auto answers = [](const void* mine, std::size_t size, void* all) {
      std::memcpy(all, mine, size);
      std::memcpy(static_cast<char*>(all) + size, mine, size);
      static_cast<char*>(all)[2 * size - 6] ^= 1;  // in the other's arena_bytes
    };
    world_type world{0, 2, answers, quick};
  });
  CHECK(endings[0].kind == allfold::host::failure_kind::mismatch);
  CHECK(endings[0].thrown.find("rank 1 has") != std::string::npos);
}

TEST_CASE("each rank's end is told: returned, threw, exited, killed") {
  const auto endings = try_spawn_processes(
      5,
      [](world_type& world) {
        allfold::barrier(world);
        if (world.rank() == 1) throw std::domain_error{"mine"};
        if (world.rank() == 2) _exit(7);
        if (world.rank() == 3) raise(SIGKILL);
        if (world.rank() == 4) throw 5;
      },
      quick);
  REQUIRE(endings.size() == 5);
  CHECK(endings[0].good());
  CHECK(endings[1].thrown == "mine");
  CHECK(endings[1].in_words().find("rank 1 (process ") == 0);
  CHECK(endings[2].status == 7);
  CHECK(endings[3].signal == SIGKILL);
  CHECK(endings[3].in_words().find("was killed by signal 9 (Killed)") != std::string::npos);
  CHECK(endings[4].thrown == "something that is no std::exception");
}

TEST_CASE("spawn_processes throws the library's error of the rank that failed first") {
  const auto mismatch = [](world_type& world) {
    std::vector<int> data(world.rank() == 1 ? 4 : 5);
    allfold::all_reduce(world, data);
    allfold::barrier(world);
  };
  CHECK_THROWS_AS(spawn_processes(3, mismatch, quick), allfold::mismatch_error);
  const auto misuse = [](world_type& world) {
    std::vector<int> data(5);
    allfold::broadcast(world, data, world.rank() == 2 ? 9 : 0);
    allfold::barrier(world);
  };
  CHECK_THROWS_AS(spawn_processes(3, misuse, quick), allfold::usage_error);
  options impatient = quick;
  impatient.timeout = std::chrono::seconds{10};
  const auto killed = [](world_type& world) {
    if (world.rank() == 1) raise(SIGKILL);
    allfold::barrier(world);
  };
  try {
    spawn_processes(3, killed, impatient);
    FAIL("a killed rank must be heard of");
  } catch (const allfold::rank_lost_error& thrown) {
    CHECK(std::string{thrown.what()}.find("rank 1 (process ") != std::string::npos);
    CHECK(std::string{thrown.what()}.find("killed by signal 9") != std::string::npos);
  }
  // The others have not waited for it until their time was over.
  const auto endings = try_spawn_processes(3, killed, impatient);
  for (const int rank : {0, 2}) {
    const process_ending& its = endings[static_cast<std::size_t>(rank)];
    CHECK_MESSAGE(its.kind == allfold::host::failure_kind::lost, its.in_words());
    CHECK_MESSAGE(its.thrown.find("rank 1 (its process ") != std::string::npos, its.in_words());
  }
}

TEST_CASE("ranks that do not end after a failure are killed when the time is over") {
  const auto begin = std::chrono::steady_clock::now();
  options impatient = quick;
  impatient.timeout = std::chrono::seconds{2};
  const auto endings = try_spawn_processes(
      2,
      [](world_type& world) {
        if (world.rank() == 1) throw std::runtime_error{"mine"};
        for (;;) pause();
      },
      impatient);
  CHECK(endings[0].signal == SIGKILL);
  CHECK(endings[0].late);
  CHECK(endings[0].in_words().ends_with(") did not end after a failure, and was killed"));
  CHECK(endings[1].thrown == "mine");
  CHECK(!endings[1].late);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{20});
}

TEST_CASE("whom the parent has killed since it did not end is not who failed first") {
  options impatient = quick;
  impatient.timeout = std::chrono::milliseconds{300};
  const auto text_of = [&](auto body) -> std::string {
    try {
      spawn_processes(3, body, impatient);
    } catch (const allfold::error& thrown) {
      return thrown.what();
    }
    return {};
  };
  const std::string threw = text_of([](world_type& world) {
    if (world.rank() == 1) throw std::runtime_error{"mine"};
    for (;;) pause();
  });
  CHECK_MESSAGE(threw.find("allfold: rank 1 (process ") == 0, threw);
  CHECK_MESSAGE(threw.ends_with(") threw: mine"), threw);
  // Killed by another: that is the cause, however late the others are.
  const std::string killed = text_of([](world_type& world) {
    if (world.rank() == 2) raise(SIGKILL);
    for (;;) pause();
  });
  CHECK_MESSAGE(killed.find("allfold: rank 2 (process ") == 0, killed);
  CHECK_MESSAGE(killed.find("was killed by signal 9 (Killed)") != std::string::npos, killed);
  // Nobody but those that did not end: the first error of the team is theirs.
  const std::string stuck = text_of([](world_type& world) {
    try {
      if (world.rank() == 1) world.abort("I give up");
      allfold::barrier(world);
    } catch (const allfold::error&) {
    }
    for (;;) pause();
  });
  CHECK_MESSAGE(stuck.find(") did not end after a failure, and was killed") != std::string::npos,
                stuck);
}

TEST_CASE("how ranks end is known also where SIGCHLD is ignored, which it is again afterwards") {
  const auto before = std::signal(SIGCHLD, SIG_IGN);
  const auto endings = try_spawn_processes(
      3,
      [](world_type& world) {
        REQUIRE_HERE(std::signal(SIGCHLD, SIG_IGN) == SIG_IGN);  // as the caller has it
        allfold::barrier(world);
        if (world.rank() == 1) _exit(7);
        if (world.rank() == 2) raise(SIGKILL);
      },
      quick);
  const bool is_ignored = std::signal(SIGCHLD, before) == SIG_IGN;
  CHECK(is_ignored);
  CHECK_MESSAGE(endings[0].good(), endings[0].in_words());
  CHECK_MESSAGE(endings[1].status == 7, endings[1].in_words());
  CHECK_MESSAGE(endings[2].signal == SIGKILL, endings[2].in_words());
  CHECK(endings[2].kind == allfold::host::failure_kind::lost);
}

TEST_CASE("what ranks write to std::cout is there when they have ended, and once") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    std::ios::sync_with_stdio(false);  // it has a buffer of its own from now on
    std::cout << "begin;";
    spawn_processes(
        2, [](world_type&) { std::cout << "rank;"; }, quick);
    std::cout << "end" << std::flush;
    _exit(0);
  }
  close(ends[1]);
  CHECK(test::wait_for_child(child, std::chrono::seconds{60}) == 0);
  char text[1000] = {};
  CHECK(read(ends[0], text, sizeof text - 1) > 0);
  close(ends[0]);
  CHECK(std::string{text} == "begin;rank;rank;end");
}

TEST_CASE("an arena that is too small is named on the rank, and all others hear of it") {
  options small = quick;
  small.arena_bytes = std::size_t{1} << 20;
  small.copying = copying::through_region;
  const auto endings = try_spawn_processes(
      3,
      [](world_type& world) {
        std::vector<float> data(world.rank() == 1 ? 400'000 : 100);
        try {
          allfold::all_reduce<allfold::ring>(world, data);
        } catch (const allfold::usage_error& thrown) {
          REQUIRE_HERE(std::string{thrown.what()}.find("arena_bytes") != std::string::npos);
          throw;
        }
      },
      small);
  for (const process_ending& each : endings) {
    CHECK(each.kind == allfold::host::failure_kind::misuse);
    CHECK(each.thrown.find("arena_bytes") != std::string::npos);
  }
}

TEST_CASE("more elements than can be counted in bytes are refused as any others") {
  const auto endings = try_spawn_processes(
      1,
      [](world_type& world) {
        const auto refuses = [](auto allocate) {
          try {
            allocate();
          } catch (const allfold::usage_error& thrown) {
            return std::string{thrown.what()}.find("arena_bytes") != std::string::npos;
          }
          return false;
        };
        constexpr std::size_t most = ~std::size_t{0};
        REQUIRE_HERE(refuses([&] { world.allocate<double>(std::size_t{1} << 61); }));
        REQUIRE_HERE(refuses([&] { world.allocate<float>(most); }));
        REQUIRE_HERE(refuses([&] { world.allocate<char>(most); }));
        REQUIRE_HERE(refuses([&] { world.shared()->world()->heap().take(most); }));
        REQUIRE_HERE(refuses([&] { world.allocate<char>(quick.arena_bytes + (1 << 20)); }));
        REQUIRE_HERE(world.allocate<char>(quick.arena_bytes / 2).size() == quick.arena_bytes / 2);
      },
      quick);
  CHECK_MESSAGE(endings[0].good(), endings[0].in_words());
}

TEST_CASE("a replica's gradients of its own lie in shared memory") {
  // See data_parallel/memory.cpp for what bind_gradients is.
  struct bound_model {
    std::vector<float> weights = std::vector<float>(1000, 1.0f);
    std::vector<std::span<float>> grads;
    std::vector<std::span<float>> parameters() { return {weights}; }
    std::vector<std::span<float>> gradients() { return grads; }
    void bind_gradients(const std::vector<std::span<float>>& places) { grads = places; }
  };
  spawn_processes(
      2,
      [](world_type& world) {
        bound_model model;
        allfold::data_parallel<bound_model, allfold::distributed<allfold::direct>> replica{model,
                                                                                           world};
        REQUIRE_HERE(world.shared()->world()->region().holds(model.grads[0].data()));
        replica.backward([&](auto&& ready) {
          std::fill(model.grads[0].begin(), model.grads[0].end(),
                    static_cast<float>(world.rank() + 1));
          ready(0);
        });
        REQUIRE_HERE(model.grads[0][999] == 1.5f);
      },
      quick);
}
