// What tests/soak runs: rounds in which processes are killed and stopped in the midst of
// collectives, and the others go on. Counts what must not be: hangs, wrong results, ranks that are
// lost without a fault, and memory that is left behind. Prints a page in Markdown.
#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>

#include <poll.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../../bench/page.hpp"
#include "support/exact_calls.hpp"
#include "support/left_behind.hpp"
#include "support/shared_with_children.hpp"

namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using clock_type = std::chrono::steady_clock;
using world_type = allfold::processes::communicator;

constexpr int most = 6;

// ---- what is called ----

struct call_of_a_kind {
  std::string name, algorithm;
  /// `shared`: operands lie in shared memory.
  std::function<void(world_type&, std::size_t count, unsigned round, bool shared)> call;
};

template <class Call>
call_of_a_kind kind(std::string name, std::string algorithm, Call call) {
  return {std::move(name), std::move(algorithm),
          [call](world_type& world, std::size_t count, unsigned round, bool shared) {
            if (shared)
              call(test::exact_calls<world_type, test::in_shared_memory>{world, count, round});
            else
              call(test::exact_calls<world_type>{world, count, round});
          }};
}

std::vector<call_of_a_kind> all_kinds() {
  using namespace allfold;
  return {
      kind("all_reduce", "direct", [](auto it) { it.template all_reduce<direct>(); }),
      kind("all_reduce", "ring", [](auto it) { it.template all_reduce<ring>(); }),
      kind("all_reduce", "tree", [](auto it) { it.template all_reduce<tree>(); }),
      kind("all_reduce", "halving_doubling",
           [](auto it) { it.template all_reduce<halving_doubling>(); }),
      kind("all_reduce", "primary", [](auto it) { it.template all_reduce<primary<>>(); }),
      kind("reduce", "direct", [](auto it) { it.template reduce<direct>(); }),
      kind("reduce", "ring", [](auto it) { it.template reduce<ring>(); }),
      kind("reduce", "tree", [](auto it) { it.template reduce<tree>(); }),
      kind("broadcast", "direct", [](auto it) { it.template broadcast<direct>(); }),
      kind("broadcast", "ring", [](auto it) { it.template broadcast<ring>(); }),
      kind("broadcast", "tree", [](auto it) { it.template broadcast<tree>(); }),
      kind("reduce_scatter", "direct", [](auto it) { it.template reduce_scatter<direct>(); }),
      kind("reduce_scatter", "ring", [](auto it) { it.template reduce_scatter<ring>(); }),
      kind("all_gather", "direct", [](auto it) { it.template all_gather<direct>(); }),
      kind("all_gather", "ring", [](auto it) { it.template all_gather<ring>(); }),
      kind("all_to_all", "direct", [](auto it) { it.all_to_all(); }),
      kind("all of them", "in turn", [](auto it) { it.all(); }),
  };
}

// ---- a round ----

struct fault {
  int rank, signal;
  std::chrono::microseconds after;
};

/// What happens in a round; a function of its number and the seed.
struct plan {
  int size;
  std::size_t kind, count;
  bool shared;
  allfold::processes::copying copying;
  std::vector<fault> faults;

  plan(unsigned seed, unsigned number, std::size_t kinds) {
    std::mt19937 random{seed * 1000003u + number};
    const auto one_of = [&](auto... all) {
      const std::size_t values[] = {static_cast<std::size_t>(all)...};
      return values[random() % sizeof...(all)];
    };
    size = 2 + static_cast<int>(random() % (most - 1));
    kind = number % kinds;
    count = one_of(3, 400, 5000, 60000);
    shared = random() % 2 == 0;
    copying = random() % 3 == 0 ? allfold::processes::copying::through_region
                                : allfold::processes::copying::once;
    std::vector<int> ranks(static_cast<std::size_t>(size));
    for (int rank = 0; rank < size; ++rank) ranks[static_cast<std::size_t>(rank)] = rank;
    std::shuffle(ranks.begin(), ranks.end(), random);
    const std::size_t number_of_faults = random() % 2 == 0 ? 1 : 1 + random() % (ranks.size() - 1);
    // Half of them come close together, so that some come while the others agree.
    const unsigned latest = random() % 2 == 0 ? 3000 : 30000;
    for (std::size_t i = 0; i < number_of_faults; ++i)
      faults.push_back({ranks[i], random() % 5 == 0 ? SIGSTOP : SIGKILL,
                        std::chrono::microseconds{random() % latest}});
  }
  bool stops() const {
    return std::any_of(faults.begin(), faults.end(),
                       [](const fault& each) { return each.signal == SIGSTOP; });
  }
  bool loses(int rank) const {
    return std::any_of(faults.begin(), faults.end(),
                       [&](const fault& each) { return each.rank == rank; });
  }
  int left() const { return size - static_cast<int>(faults.size()); }
};

/// What the ranks of a round say, and who has started them.
struct findings {
  struct {
    bool finished = false;
    int shrinks = 0;
    double longest_ms = 0;  ///< that it took to go on
    char wrong[300]{};
  } of[most];
  bool judged = false;
  int lost = 0;     ///< ranks without a fault
  int regions = 0;  ///< mapped or open when all is over
};

void live(world_type& world, const plan& round, const call_of_a_kind& it, findings& all) {
  const int before = world.rank();
  auto& mine = all.of[before];
  allfold::barrier(world);
  for (const fault& each : round.faults)
    if (each.rank == before)
      std::thread{[each] {
        std::this_thread::sleep_for(each.after);
        kill(getpid(), each.signal);
      }}.detach();
  try {
    for (unsigned call = 0; round.loses(before) || world.size() > round.left();) try {
        for (;; ++call) it.call(world, round.count, call, round.shared);
      } catch (const allfold::error&) {
        const auto begin = clock_type::now();
        world = world.shrink({.timeout = round.stops() ? 1500ms : 0ms});
        const std::chrono::duration<double, std::milli> taken = clock_type::now() - begin;
        mine.longest_ms = std::max(mine.longest_ms, taken.count());
        ++mine.shrinks;
        call = 0;
      }
    if (world.size() != round.left()) throw std::logic_error{"too few ranks are left"};
    for (unsigned last = 0; last < 2; ++last) test::require_exact_calls(world, last);
    mine.finished = true;
  } catch (const std::exception& wrong) {
    std::snprintf(mine.wrong, sizeof mine.wrong, "%s", wrong.what());
    throw;
  }
}

void run(const plan& round, const call_of_a_kind& it, findings& all) {
  const auto endings = allfold::try_spawn_processes(
      round.size, [&](world_type& world) { live(world, round, it, all); },
      {.timeout = round.stops() ? 1500ms : 30s,
       .arena_bytes = std::size_t{64} << 20,
       .copying = round.copying});
  for (const auto& each : endings)
    if (!round.loses(each.rank) && !all.of[each.rank].finished) {
      ++all.lost;
      std::fprintf(stderr, "  %s\n", each.in_words().c_str());
    }
  all.regions = test::own_regions();
  all.judged = true;
}

// ---- all rounds ----

struct row {
  int rounds = 0, killed = 0, stopped = 0, wrong = 0, hung = 0, lost = 0, shrinks = 0;
  std::vector<double> milliseconds;  ///< of rounds in which nobody was stopped

  void add(const row& other) {
    rounds += other.rounds;
    killed += other.killed;
    stopped += other.stopped;
    wrong += other.wrong;
    hung += other.hung;
    lost += other.lost;
    shrinks += other.shrinks;
    milliseconds.insert(milliseconds.end(), other.milliseconds.begin(), other.milliseconds.end());
  }
  void print(const std::string& name, const std::string& algorithm) const {
    std::printf("| %s | %s | %d | %d | %d | %d | %d | %d | %d |", name.c_str(), algorithm.c_str(),
                rounds, killed, stopped, shrinks, hung, wrong, lost);
    if (milliseconds.empty())
      std::printf(" | |\n");
    else
      std::printf(" %.1f | %.1f |\n", bench::quantile(milliseconds, 0.5),
                  bench::quantile(milliseconds, 1));
  }
};

/// Of this job's processes: how many have the library's memory mapped, and how many there are.
std::pair<int, int> left_behind() {
  int regions = 0, processes = 0;
  for (const auto& each : fs::directory_iterator{"/proc"}) {
    const int process = std::atoi(each.path().filename().c_str());
    if (process <= 0 || process == getpid() || getpgid(process) != getpgrp()) continue;
    ++processes;
    regions += test::regions_in(each.path() / "maps");
  }
  return {regions, processes};
}
std::set<std::string> shared_files() {
  std::set<std::string> all;
  std::error_code none;
  for (const auto& each : fs::directory_iterator{"/dev/shm", none}) {
    const std::string name = each.path().filename();
    if (name.find("allfold") != std::string::npos) all.insert(name);
  }
  return all;
}
/// KiB of shared memory in the whole system.
long shared_kib() {
  std::ifstream file{"/proc/meminfo"};
  std::string name, unit;
  for (long value = 0; file >> name >> value; std::getline(file, unit))
    if (name == "Shmem:") return value;
  return 0;
}

/// Runs a round in a process of its own, which is waited for so long.
bool ends_in_time(const plan& round, const call_of_a_kind& it, findings& all) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    run(round, it, all);
    _exit(0);
  }
  const auto limit = clock_type::now() + 90s;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (clock_type::now() > limit) {
      kill(child, SIGKILL);  // and with it its own
      waitpid(child, &status, 0);
      return false;
    }
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

row judged(const plan& round, const findings& all, bool in_time, int& regions) {
  row result;
  result.rounds = 1;
  for (const fault& each : round.faults)
    ++(each.signal == SIGKILL ? result.killed : result.stopped);
  result.hung = in_time ? 0 : 1;
  result.lost = all.lost;
  regions += all.regions;
  if (in_time && !all.judged) ++result.hung;  // the one who started them is gone
  for (int rank = 0; rank < round.size; ++rank) {
    const auto& its = all.of[rank];
    if (std::string{its.wrong}.find("wrong") != std::string::npos) ++result.wrong;
    if (its.wrong[0] != '\0') std::fprintf(stderr, "  rank %d: %s\n", rank, its.wrong);
    if (!its.finished || its.shrinks == 0) continue;
    result.shrinks += its.shrinks;
    if (!round.stops()) result.milliseconds.push_back(its.longest_ms);
  }
  return result;
}

}  // namespace

int main(int count, char** values) {
  const int wanted = count > 1 ? std::atoi(values[1]) : 500;
  const unsigned seed = count > 2 ? static_cast<unsigned>(std::atoi(values[2])) : 1;
  const int only = count > 3 ? std::atoi(values[3]) : -1;
  setpgid(0, 0);
  const auto kinds = all_kinds();
  const auto begin = clock_type::now();
  const auto used = bench::used();
  const auto files = shared_files();
  const long kib_before = shared_kib();

  std::vector<row> rows(kinds.size());
  row total;
  int regions = 0, number = only < 0 ? 0 : only;
  do {
    const plan round{seed, static_cast<unsigned>(number), kinds.size()};
    const test::shared_with_children<findings> all;
    const bool in_time = ends_in_time(round, kinds[round.kind], *all);
    const row found = judged(round, *all, in_time, regions);
    if (found.hung + found.wrong + found.lost > 0)
      std::fprintf(stderr, "round %d: %s by %s on %d ranks: %d hung, %d wrong, %d lost\n", number,
                   kinds[round.kind].name.c_str(), kinds[round.kind].algorithm.c_str(), round.size,
                   found.hung, found.wrong, found.lost);
    rows[round.kind].add(found);
    total.add(found);
    ++number;
    if (number % 50 == 0)
      std::fprintf(stderr, "%d rounds, %d faults\n", number, total.killed + total.stopped);
  } while (only < 0 && total.killed + total.stopped < wanted);

  // Others use shared memory too, so what they took meanwhile is waited for.
  const auto patience = clock_type::now() + 30s;
  long kib_after = shared_kib();
  while (kib_after > kib_before + 1024 && clock_type::now() < patience) {
    std::this_thread::sleep_for(500ms);
    kib_after = shared_kib();
  }
  const auto [mapped, processes] = left_behind();
  int new_files = 0;
  for (const std::string& each : shared_files()) new_files += files.count(each) == 0;

  std::printf(
      "# Soak\n\nWritten by [tests/soak](../../tests/soak): no figure here is typed by "
      "hand.\n\n");
  bench::print_machine(number);
  std::printf(
      "In a round two to six processes call a collective over and over, of 3 to 60000 elements in "
      "their own memory or in shared memory, and each compares all of its results with what they "
      "must be. One or several of them, but not all, are killed (SIGKILL) or stopped (SIGSTOP) at "
      "random moments. The others go on by `shrink` each time, and in the end call every "
      "collective by every algorithm, and compare again. \"Lost\" are ranks that did not come to "
      "that end though nothing was done to them; a round has hung that takes 90 s. Milliseconds "
      "are what `shrink` took on each rank, the longest of its round, where nobody was stopped: "
      "who is stopped is noticed by the time limit, here 1.5 s.\n\n");
  std::printf(
      "| collective | algorithm | rounds | killed | stopped | shrinks | hung | wrong | "
      "lost | median ms | longest ms |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i].rounds > 0) rows[i].print(kinds[i].name, kinds[i].algorithm);
  total.print("**all**", "");
  const std::chrono::duration<double> taken = clock_type::now() - begin;
  std::printf("\n| left behind | |\n|---|--:|\n");
  std::printf("| mappings and descriptors of shared memory, where ranks were started | %d |\n",
              regions);
  std::printf("| processes | %d |\n| their mappings of shared memory | %d |\n", processes, mapped);
  std::printf("| files in /dev/shm | %d |\n", new_files);
  std::printf("| shared memory of the whole system, KiB before | %ld |\n", kib_before);
  std::printf("| KiB after | %ld |\n", kib_after);
  std::printf("\nIt took %.0f s, from the seed %u.", taken.count(), seed);
  bench::print_others(used);
  const bool leaks = regions + processes + mapped + new_files > 0 || kib_after > kib_before + 32768;
  return total.hung + total.wrong + total.lost > 0 || leaks ? 1 : 0;
}
