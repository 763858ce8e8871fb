// Ranks that are processes, to one of which something happens: what the others are told, and when.
#pragma once

#include "support/faulty.hpp"

#include <sys/resource.h>

#include <allfold/allfold.hpp>
#include <allfold/launch/spawn_processes.hpp>
#include <csignal>
#include <fstream>
#include <functional>
#include <new>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "communicator/outcome.hpp"
#include "support/forked.hpp"
#include "support/left_behind.hpp"
#include "support/sanitizers.hpp"

namespace process_faults {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using world = allfold::processes::communicator;
using outcomes::at;
using outcomes::ending;

// ---- what happens ----

enum class fault {
  none,
  killed,
  segfault,
  aborted,
  exits_well,
  exits_badly,
  returns,
  throws,
  out_of_memory,
  stopped,
  endless_loop
};
inline constexpr fault all_faults[] = {
    fault::killed,  fault::segfault, fault::aborted,       fault::exits_well, fault::exits_badly,
    fault::returns, fault::throws,   fault::out_of_memory, fault::stopped,    fault::endless_loop};

inline const char* name_of(fault it) {
  constexpr const char* names[] = {"nothing",       "SIGKILL",  "SIGSEGV",           "abort()",
                                   "exit(0)",       "_exit(1)", "returns from body", "throws",
                                   "out of memory", "SIGSTOP",  "endless loop"};
  return names[static_cast<int>(it)];
}
/// True if the rank's process goes on, so that others only notice that it does not come.
inline bool is_silent(fault it) { return it == fault::stopped || it == fault::endless_loop; }
/// True if the rank says itself what is wrong.
inline bool is_said(fault it) { return it == fault::throws || it == fault::out_of_memory; }

struct quitting {};
struct injected : std::runtime_error {
  injected() : runtime_error{"injected"} {}
};

/// Takes all memory that the process may have, and asks for more.
inline void use_up_memory() {
  long pages = 0;
  std::ifstream{"/proc/self/statm"} >> pages;
  const rlimit limit{static_cast<rlim_t>(pages) * 4096, RLIM_INFINITY};
  setrlimit(RLIMIT_AS, &limit);
  for (std::size_t bytes = std::size_t{1} << 20; bytes >= 16; bytes /= 2)
    while (static_cast<volatile void*>(std::malloc(bytes)) != nullptr) continue;
  throw std::bad_alloc{};
}

inline void commit(fault what) {
  switch (what) {
    case fault::none:
      break;
    case fault::killed:
      test::die_by(SIGKILL);
    case fault::segfault:
      test::die_by(SIGSEGV);
    case fault::aborted:
      std::abort();
    case fault::exits_well:
      std::exit(0);
    case fault::exits_badly:
      _exit(1);
    case fault::returns:
      throw quitting{};
    case fault::throws:
      throw injected{};
    case fault::out_of_memory:
      use_up_memory();
      break;
    case fault::stopped:
      raise(SIGSTOP);
      break;
    case fault::endless_loop:
      for (volatile int turns = 0;;) turns = turns + 1;
  }
}

// ---- where ----

enum class phase {
  before_joining,
  coming_together,
  between,
  step,
  fold,
  exit_wait,
  before_split,
  after_split,
  after_companion
};
inline constexpr phase all_phases[] = {
    phase::before_joining, phase::coming_together, phase::between,      phase::step,
    phase::fold,           phase::exit_wait,       phase::before_split, phase::after_split,
    phase::after_companion};

inline const char* name_of(phase it) {
  constexpr const char* names[] = {"before it joins",     "while ranks come together",
                                   "between collectives", "at a step",
                                   "in a fold",           "in the exit wait",
                                   "entering `split`",    "in a team made by `split`",
                                   "in a `companion`"};
  return names[static_cast<int>(it)];
}
inline bool is_in_collective(phase it) {
  return it == phase::step || it == phase::fold || it == phase::exit_wait;
}

/// One experiment. `index`: the step. `place`: where operands lie.
enum class memory { own, arena, copied };
struct subject;
struct experiment {
  const subject* it;
  int size, culprit;
  fault what;
  phase when;
  int index = 0;
  memory place = memory::own;
  clock::duration timeout = 60s;
};

// ---- a collective by a faulty schedule ----

/// The experiment of this process.
inline const experiment* current = nullptr;
/// Of the faults that it commits, the time is noted here, for all to see.
inline std::atomic<clock::rep>* committed_at = nullptr;

inline void commit_now() {
  std::signal(SIGABRT, SIG_DFL);  // the test's framework has a handler of its own
  *committed_at = clock::now().time_since_epoch().count();
  commit(current->what);
}

/// Adds up; on the culprit, when it is armed, things go wrong.
struct fragile_sum {
  static inline bool armed = false;
  float operator()(float a, float b) const {
    if (armed) {
      armed = false;
      commit_now();
    }
    return a + b;
  }
};

struct subject {
  std::string name;
  std::string algorithm;
  bool (*folds_on)(int rank);     ///< whether that rank certainly folds something
  std::function<int(int)> steps;  ///< for so many ranks
  std::size_t elements;
  std::function<void(world&, std::span<float>)> call;
};

inline bool every_rank(int) { return true; }
inline bool no_rank(int) { return false; }
inline bool only_first(int rank) { return rank == 0; }
inline bool not_second(int rank) { return rank != 1; }

template <class Schedule>
subject all_reduce_by(std::string name, std::size_t elements, bool (*folds_on)(int) = every_rank) {
  return {"all_reduce",
          std::move(name),
          folds_on,
          [](int size) { return Schedule{}.steps(size); },
          elements,
          [](world& ranks, std::span<float> data) {
            allfold::all_reduce<test::faulty<Schedule>>(ranks, data, fragile_sum{});
          }};
}
template <class Schedule>
subject reduce_by(std::string name, std::size_t elements, bool (*folds_on)(int)) {
  return {"reduce",
          std::move(name),
          folds_on,
          [](int size) { return Schedule{}.steps(size); },
          elements,
          [](world& ranks, std::span<float> data) {
            allfold::reduce<test::through<Schedule>>(ranks, data, 0, fragile_sum{});
          }};
}
template <class Schedule>
subject broadcast_by(std::string name, std::size_t elements) {
  return {"broadcast",
          std::move(name),
          no_rank,
          [](int size) { return Schedule{}.steps(size); },
          elements,
          [](world& ranks, std::span<float> data) {
            allfold::broadcast<test::through<Schedule>>(ranks, data, ranks.size() - 1);
          }};
}
template <class Schedule>
subject barrier_by(std::string name) {
  return {"barrier",
          std::move(name),
          no_rank,
          [](int size) { return Schedule{}.steps(size); },
          0,
          [](world& ranks, std::span<float>) { allfold::barrier<test::through<Schedule>>(ranks); }};
}

inline std::vector<subject> all_subjects() {
  using namespace allfold;
  return {
      all_reduce_by<one_shot>("one_shot", 100),
      all_reduce_by<direct>("direct", 4000),
      all_reduce_by<ring>("ring", 4000),
      all_reduce_by<tree>("tree", 4000, only_first),
      all_reduce_by<halving_doubling>("halving_doubling", 4000, not_second),
      all_reduce_by<primary<>>("primary", 4000, only_first),
      reduce_by<direct::reduce>("direct", 4000, only_first),
      reduce_by<ring::reduce>("ring", 4000, not_second),
      broadcast_by<one_shot::broadcast>("one_shot", 100),
      broadcast_by<direct::broadcast>("direct", 4000),
      broadcast_by<ring::broadcast>("ring", 4000),
      broadcast_by<tree::broadcast>("tree", 4000),
      {"all_gather", "ring", no_rank, [](int size) { return ring::all_gather{}.steps(size); }, 4800,
       [](world& ranks, std::span<float> data) {
         allfold::all_gather<test::through<ring::all_gather>>(ranks, data);
       }},
      {"all_to_all", "direct", no_rank, [](int size) { return direct::all_to_all{}.steps(size); },
       4800,
       [](world& ranks, std::span<float> data) {
         std::vector<float> to(data.size());
         allfold::all_to_all<test::through<direct::all_to_all>>(ranks, data, to);
       }},
      barrier_by<direct::barrier>("direct"),
      barrier_by<dissemination::barrier>("dissemination"),
  };
}

// ---- one experiment ----

/// What one rank was told, in memory that all share.
struct told {
  ending how = ending::returned;
  std::atomic<clock::rep> when{0};  ///< 0: it has not come so far
  bool undisturbed = true;          ///< nobody wrote to its memory afterwards
  char text[2000] = {};
};
struct findings {
  std::atomic<clock::rep> committed{0};
  std::atomic<int> ready{0};
  told ranks[8];
};

inline void at_step(int index) {
  if (current == nullptr || index != current->index) return;
  test::on_step = nullptr;
  commit_now();
}

/// The operands of a rank: in its own memory, or in memory that all share.
struct operands {
  std::vector<float> own;
  allfold::processes::shared_array<float> arena;
  std::span<float> data;

  operands(world& ranks, const experiment& how) {
    if (how.place == memory::arena) {
      arena = ranks.allocate<float>(how.it->elements);
      data = {arena.data(), arena.size()};
    } else {
      own.resize(how.it->elements);
      data = own;
    }
    std::fill(data.begin(), data.end(), 1.0f);
  }
};

/// What every rank does in an experiment.
inline void act(world& ranks, const experiment& how, std::span<float> data) {
  const bool culprit = ranks.rank() == how.culprit;
  allfold::barrier(ranks);
  if (culprit && (how.when == phase::between || how.when == phase::before_split)) commit_now();
  if (how.when == phase::before_split) {
    world other = ranks.split(0);
    allfold::barrier(other);
    return;
  }
  if (how.when == phase::after_split || how.when == phase::after_companion) {
    world other = how.when == phase::after_split ? ranks.split(ranks.rank() >= 0, -ranks.rank())
                                                 : ranks.companion();
    if (culprit) commit_now();
    allfold::barrier(other);
    return;
  }
  if (culprit) {
    current = &how;
    if (how.when == phase::fold) fragile_sum::armed = true;
    if (how.when == phase::step || how.when == phase::exit_wait) test::on_step = at_step;
  }
  how.it->call(ranks, data);
  // Whoever could do without the culprit so far is told in one of the next.
  allfold::barrier(ranks);
  allfold::barrier(ranks);
}

/// The memory is the rank's own again: looks whether anybody still writes to it.
inline bool is_left_alone(std::span<float> data, findings& found, int survivors) {
  std::fill(data.begin(), data.end(), -7.0f);
  ++found.ready;
  for (const auto end = clock::now() + 2s; found.ready < survivors && clock::now() < end;)
    std::this_thread::sleep_for(200us);
  return std::all_of(data.begin(), data.end(), [](float each) { return each == -7.0f; });
}

inline void live(world& ranks, const experiment& how, findings& found) {
  operands mine{ranks, how};
  told& own = found.ranks[ranks.rank()];
  const auto result = outcomes::attempt([&] {
    try {
      act(ranks, how, mine.data);
    } catch (...) {
      own.when = clock::now().time_since_epoch().count();
      throw;
    }
  });
  own.how = result.how;
  std::snprintf(own.text, sizeof own.text, "%s", result.text.c_str());
  const bool culprit = ranks.rank() == how.culprit;
  if (!culprit) own.undisturbed = is_left_alone(mine.data, found, how.size - 1);
  if (result.told() && !(culprit && how.what == fault::returns))
    throw std::runtime_error{result.text};
}

/// Runs it, and says how the processes ended. What the ranks were told is in `found`.
inline std::vector<allfold::process_ending> run(const experiment& how, findings& found) {
  allfold::processes::options options{.timeout = how.timeout, .arena_bytes = std::size_t{1} << 22};
  if (how.place == memory::copied) options.copying = allfold::processes::copying::through_region;
  auto region = allfold::detail::region_for(how.size, options);
  const allfold::processes::team_state state{region.data(), how.size};
  allfold::detail::forked_ranks ranks{region, how.size};
  state.make([](int) { return 0; });
  std::fflush(nullptr);
  auto body = [&](world& mine) { live(mine, how, found); };
  for (int rank = 0; rank < how.size; ++rank)
    ranks.fork_rank([&](int own) {
      current = &how;
      committed_at = &found.committed;
      try {
        if (own == how.culprit && how.when == phase::before_joining) commit_now();
        if (own == how.culprit && how.when == phase::coming_together) {
          state.of(own).process = getpid();
          state.of(own).arrived = 1;
          commit_now();
        }
      } catch (...) {
        return 1;
      }
      const int status = allfold::detail::live_as_process(region, own, how.size, body, options);
      clock::rep never = 0;  // it was told before its body began
      found.ranks[own].when.compare_exchange_strong(never, clock::now().time_since_epoch().count());
      return status;
    });
  ranks.wait(how.timeout + 500ms);
  for (const allfold::process_ending& each : ranks.endings()) {
    told& its = found.ranks[each.rank];
    if (its.text[0] != '\0' || each.thrown.empty()) continue;
    its.how = each.kind == allfold::host::failure_kind::timeout ? ending::timeout : ending::lost;
    std::snprintf(its.text, sizeof its.text, "%s", each.thrown.c_str());
  }
  return ranks.endings();
}

// ---- what must come of it ----

/// Milliseconds from the fault to the last rank that was told of it.
inline double latest(const experiment& how, const findings& found) {
  clock::rep last = 0;
  for (int rank = 0; rank < how.size; ++rank)
    if (rank != how.culprit) last = std::max(last, found.ranks[rank].when.load());
  return std::chrono::duration<double, std::milli>(clock::duration{last - found.committed}).count();
}

inline constexpr bool sanitized = TEST_ADDRESS_SANITIZER || TEST_THREAD_SANITIZER;

/// The words that say what became of the culprit.
inline std::string expected_words(const experiment& how) {
  const bool other_team = how.when == phase::after_split || how.when == phase::after_companion;
  const bool ends = is_said(how.what) || how.what == fault::returns;
  if (other_team && ends) return "has left because of an exception after completing";
  if (how.what == fault::returns && is_in_collective(how.when)) return "threw in ";
  if (ends && how.when <= phase::coming_together) return "ended with status 1";
  switch (how.what) {
    case fault::none:
      break;
    case fault::killed:
      return "was killed by signal 9 (Killed)";
    case fault::segfault:
      return "was killed by signal 11 (Segmentation fault)";
    case fault::aborted:
      return "was killed by signal 6 (Aborted)";
    case fault::exits_well:
      return "ended with status 0";
    case fault::exits_badly:
      return "ended with status 1";
    case fault::returns:
      return how.when == phase::between || how.when == phase::before_split
                 ? "has left after completing 1 collective"
                 : "";
    case fault::throws:
      return "injected";
    case fault::out_of_memory:
      return "rank " + std::to_string(how.culprit) + " threw";
    case fault::stopped:
      return "is stopped";
    case fault::endless_loop:
      return "is running";
  }
  return {};
}

/// What a text says of a rank, and nobody else: not what the rank that was told says of itself, nor
/// the one that has noticed it. Empty if it does not speak of the rank.
inline std::string account_of(int rank, const std::string& text) {
  static const std::regex front{
      R"(^allfold: rank \d+, (.*? at process_faults\.hpp:\d+|while the ranks come together): )"};
  static const std::regex back{
      R"(, and rank \d+ waits for |; rank \d+ \([^)]*\)+ may still write)"};
  const auto without = [](const std::string& all, const std::regex& part, bool before) {
    std::smatch found;
    if (!std::regex_search(all, found, part)) return all;
    return before ? found.suffix().str() : found.prefix().str();
  };
  const std::string own = without(text, front, true);
  if (own == text) return {};  // no text of the library's
  const std::string rest = without(own, back, false);
  const std::size_t begin = rest.rfind("rank " + std::to_string(rank) + " ");
  return begin == rest.npos ? "" : rest.substr(begin);
}

/// Where the culprit was last: a regular expression.
inline std::string expected_place(const experiment& how) {
  const std::string here = R"( \([^)]*(\([^)]*\)[^)]*)*\) at process_faults\.hpp:\d+)";
  if (how.when <= phase::coming_together) return "has not joined";
  if (how.when == phase::after_split || how.when == phase::after_companion)
    return "complet(ed|ing) 0 collectives";
  if (is_in_collective(how.when)) return how.it->name + " #1" + here;
  return "complet(ed|ing) 1 collective, the last barrier #0" + here;
}
/// For how long it has been there. Who throws says so at once.
inline std::string expected_time(const experiment& how) {
  if (how.when <= phase::coming_together) return R"(within \d+ ms)";
  if (is_silent(how.what)) return R"(; it (has not moved meanwhile|[a-z ]+ \d+ ms( ago)?)$)";
  return R"((has not moved for at least|was last seen to move|, and it left) \d+ ms|^rank \d+ threw)";
}

/// What is wrong with what the ranks were told; empty if nothing is.
inline std::string judge(const experiment& how, const findings& found) {
  std::string wrong;
  if (found.committed == 0) return "\n  the fault was not met";
  // In a team made by split the ranks are numbered the other way round.
  const int its_name = how.when == phase::after_split ? how.size - 1 - how.culprit : how.culprit;
  for (int rank = 0; rank < how.size; ++rank) {
    if (rank == how.culprit) continue;
    const told& its = found.ranks[rank];
    const std::string text = its.text, account = account_of(its_name, text);
    const auto complain = [&](const std::string& what) {
      wrong += "\n  rank " + std::to_string(rank) + " " + what + "; " + outcomes::name_of(its.how) +
               ": " + text;
    };
    const auto tells = [&](const std::string& what) {
      return std::regex_search(account, std::regex{what});
    };
    if (its.when == 0) {
      complain("was never told");
      continue;
    }
    if (its.how != (is_silent(how.what) ? ending::timeout : ending::lost)) complain("was told so");
    if (account.empty()) complain("was not told who");
    if (account.find(expected_words(how)) == account.npos) complain("was not told how");
    if (!tells(expected_place(how))) complain("was not told where the rank was");
    if (!tells(expected_time(how))) complain("was not told since when");
    if (!its.undisturbed && text.find("may still write") == text.npos)
      complain("found its memory written");
  }
  return wrong;
}

/// How long it may take until the last rank is told: a rank that ends or leaves is noticed within a
/// second. One that does not come is, when the time limit is over; and if it is in a fold, as much
/// time again may pass until the others leave theirs.
inline double latest_allowed(const experiment& how) {
  const std::chrono::duration<double, std::milli> limit = how.timeout;
  return is_silent(how.what) ? 2 * limit.count() + 1000 : 1000;
}

inline std::string in_words(const experiment& how) {
  constexpr const char* places[] = {"own memory", "shared memory", "copied"};
  return std::string{name_of(how.what)} + " " + name_of(how.when) +
         (how.when == phase::step ? " " + std::to_string(how.index) : "") + " of rank " +
         std::to_string(how.culprit) + " of " + std::to_string(how.size) + ", " + how.it->name +
         " (" + how.it->algorithm + "), " + places[static_cast<int>(how.place)];
}

/// Sanitizers need all addresses that there are.
inline bool is_possible(fault it) { return !(sanitized && it == fault::out_of_memory); }
/// True if the experiment can be made: a rank that folds nothing can't fail in a fold.
inline bool is_possible(const experiment& how) {
  if (how.when == phase::fold && !how.it->folds_on(how.culprit)) return false;
  const bool forked = how.when == phase::before_joining || how.when == phase::coming_together;
  if (forked && how.what == fault::returns) return false;  // that is exiting
  return is_possible(how.what);
}

/// Every place in which `what` can happen to a rank of 2 to 4: at every step of every algorithm,
/// and outside of collectives. Operands lie here and there.
inline std::vector<experiment> all_places(const std::vector<subject>& subjects, fault what) {
  std::vector<experiment> all;
  const auto add = [&](experiment how) {
    how.place = static_cast<memory>(all.size() % 3);
    if (is_possible(how)) all.push_back(how);
  };
  for (int size = 2; size <= 4; ++size)
    for (int culprit = 0; culprit < size; ++culprit) {
      for (const phase when : all_phases)
        if (!is_in_collective(when) && when != phase::between)
          add({&subjects.front(), size, culprit, what, when});
      for (const subject& it : subjects) {
        add({&it, size, culprit, what, phase::between});
        add({&it, size, culprit, what, phase::fold});
        for (int index = 0; index < it.steps(size); ++index)
          add({&it, size, culprit, what, phase::step, index});
        add({&it, size, culprit, what, phase::exit_wait, it.steps(size)});
      }
    }
  return all;
}

/// Carries out an experiment. What is wrong with what the ranks were told, and how long it took to
/// tell them, in milliseconds.
struct verdict {
  std::string wrong;
  double latest = 0;
};
inline verdict try_out(experiment how) {
  verdict it;
  // A machine can be so busy that ranks run out of a short time limit for another reason, and that
  // what takes milliseconds takes a second.
  for (const auto limit : {300ms, 3000ms, 3000ms}) {
    if (is_silent(how.what)) how.timeout = limit;
    test::shared_with_children<findings> found;
    const auto ended = run(how, *found)[at(how.culprit)];
    it = {judge(how, *found), latest(how, *found)};
    const bool late = it.latest > latest_allowed(how);
    if (late) it.wrong += "\n  the last rank was told after " + std::to_string(it.latest) + " ms";
    if (is_said(how.what) && ended.signal != 0)
      it.wrong += "\n  the rank itself: " + ended.in_words();
    if (const int left = test::own_regions(); left > 0)
      it.wrong += "\n  so many mappings and descriptors are left: " + std::to_string(left);
    if (it.wrong.empty() || !(late || is_silent(how.what))) break;
  }
  if (!it.wrong.empty()) it.wrong = "\n" + in_words(how) + it.wrong;
  return it;
}

}  // namespace process_faults
