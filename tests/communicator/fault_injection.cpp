// Something goes wrong at every step of every rank of every schedule. Whatever it is, every rank
// ends with an error, and from then on its memory is its own.

#include "support/faulty.hpp"
#include "support/most_ranks.hpp"

#include <allfold/allfold.hpp>

#include "outcome.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using test::faulty;
using test::through;
using world_type = allfold::threads::communicator;

enum class fault_kind { none, throws, leaves, stalls };

/// What goes wrong on one rank: in step `index` of the schedule (its exit is the one after the
/// last), when it is reached for the `visit`-th time, as it is once a piece.
struct fault {
  fault_kind kind = fault_kind::none;
  int index = 0;
  int visit = 0;
};

struct injected : std::runtime_error {
  injected() : runtime_error{"injected"} {}
};
struct quitting {};

/// Adds up `left` times, then throws, on a rank where `left` is not negative.
struct brittle_sum {
  static inline thread_local int left = -1;

  float operator()(float a, float b) const {
    if (left >= 0 && left-- == 0) throw injected{};
    return a + b;
  }
};

/// The fault of the rank that is this thread, if it has one.
struct armed_fault : fault {
  const std::shared_ptr<allfold::threads::team>* team;
  int visits = 0;
  bool tripped = false;
};
thread_local armed_fault* armed = nullptr;

void trip(int index) {
  if (armed == nullptr || armed->kind == fault_kind::none || index != armed->index) return;
  if (armed->visits++ != armed->visit) return;
  armed->tripped = true;
  if (armed->kind == fault_kind::throws) throw injected{};
  if (armed->kind == fault_kind::leaves) throw quitting{};
  // Stalls until the others have run out of patience.
  const auto end = clock_type::now() + patient;
  while (!(*armed->team)->failed() && clock_type::now() < end) std::this_thread::sleep_for(200us);
  std::this_thread::sleep_for(1ms);
}

// ---- the collectives ----

struct memory {
  std::vector<float> input, output;

  void fill(float value) {
    std::fill(input.begin(), input.end(), value);
    std::fill(output.begin(), output.end(), value);
  }
  bool holds(float value) const {
    const auto same = [=](float each) { return each == value; };
    return std::all_of(input.begin(), input.end(), same) &&
           std::all_of(output.begin(), output.end(), same);
  }
};

/// A collective by a faulty schedule.
struct subject {
  std::string name;
  std::function<int(int)> steps;               ///< for so many ranks
  std::function<memory(world_type&)> prepare;  ///< the memory that the call is given
  std::function<void(world_type&, memory&)> call;
  int pieces = 1;
};

std::size_t times(world_type& world, std::size_t count) { return count * at(world.size()); }

template <class Schedule>
int steps_of(int size) {
  return Schedule{}.steps(size);
}

template <class Schedule>
subject all_reduce_by(std::string name, std::size_t count, bool in_place, int pieces = 1) {
  return {
      std::move(name), steps_of<Schedule>,
      [=](world_type&) {
        return memory{std::vector<float>(count, 1.0f), std::vector<float>(in_place ? 0 : count)};
      },
      [=](world_type& world, memory& mine) {
        if (in_place)
          allfold::all_reduce<faulty<Schedule>>(world, mine.input);
        else
          allfold::all_reduce<faulty<Schedule>>(world, mine.input, mine.output);
      },
      pieces};
}
template <class Schedule>
subject reduce_by(std::string name, std::size_t count, int pieces = 1) {
  return {std::move(name), steps_of<Schedule>,
          [=](world_type& world) {
            const bool is_root = world.rank() == world.size() / 2;
            return memory{std::vector<float>(count, 1.0f), std::vector<float>(is_root ? count : 0)};
          },
          [](world_type& world, memory& mine) {
            allfold::reduce<through<Schedule>>(world, mine.input, mine.output, world.size() / 2);
          },
          pieces};
}
template <class Schedule>
subject broadcast_by(std::string name, std::size_t count, int pieces = 1) {
  return {std::move(name), steps_of<Schedule>,
          [=](world_type&) {
            return memory{std::vector<float>(count, 1.0f), {}};
          },
          [](world_type& world, memory& mine) {
            allfold::broadcast<through<Schedule>>(world, mine.input, world.size() - 1);
          },
          pieces};
}
template <class Schedule>
subject reduce_scatter_by(std::string name, std::size_t share) {
  return {std::move(name), steps_of<Schedule>,
          [=](world_type& world) {
            return memory{std::vector<float>(times(world, share), 1.0f), std::vector<float>(share)};
          },
          [](world_type& world, memory& mine) {
            allfold::reduce_scatter<through<Schedule>>(world, mine.input, mine.output);
          }};
}
template <class Schedule>
subject all_gather_by(std::string name, std::size_t share) {
  return {std::move(name), steps_of<Schedule>,
          [=](world_type& world) {
            return memory{std::vector<float>(share, 1.0f), std::vector<float>(times(world, share))};
          },
          [](world_type& world, memory& mine) {
            allfold::all_gather<through<Schedule>>(world, mine.input, mine.output);
          }};
}

template <class Schedule>
subject scatter_by(std::string name, std::size_t share) {
  return {std::move(name), steps_of<Schedule>,
          [=](world_type& world) {
            const bool is_root = world.rank() == world.size() / 2;
            return memory{std::vector<float>(is_root ? times(world, share) : 0),
                          std::vector<float>(share)};
          },
          [](world_type& world, memory& mine) {
            allfold::scatter<through<Schedule>>(world, mine.input, mine.output, world.size() / 2);
          }};
}
template <class Schedule>
subject gather_by(std::string name, std::size_t share) {
  return {std::move(name), steps_of<Schedule>,
          [=](world_type& world) {
            const bool is_root = world.rank() == world.size() / 2;
            return memory{std::vector<float>(share),
                          std::vector<float>(is_root ? times(world, share) : 0)};
          },
          [](world_type& world, memory& mine) {
            allfold::gather<through<Schedule>>(world, mine.input, mine.output, world.size() / 2);
          }};
}
template <class Schedule>
subject all_to_all_by(std::string name, std::size_t share, bool in_place) {
  return {std::move(name), [=](int size) { return Schedule{.in_place = in_place}.steps(size); },
          [=](world_type& world) {
            return memory{std::vector<float>(times(world, share)),
                          std::vector<float>(in_place ? 0 : times(world, share))};
          },
          [=](world_type& world, memory& mine) {
            if (in_place)
              allfold::all_to_all<through<Schedule>>(world, mine.input);
            else
              allfold::all_to_all<through<Schedule>>(world, mine.input, mine.output);
          }};
}

/// Every schedule of the library, at the sizes of messages that differ for it.
std::vector<subject> all_subjects() {
  using namespace allfold;
  std::vector<subject> all{
      all_reduce_by<one_shot>("one_shot", 100, true),
      all_reduce_by<direct>("direct", 1000, true),
      all_reduce_by<direct>("direct out of place", 1000, false),
      all_reduce_by<ring>("ring", 100, true),
      all_reduce_by<ring>("ring out of place", 100, false),
      all_reduce_by<ring>("ring in pieces", 20000, true, 3),
      all_reduce_by<tree>("tree", 100, true),
      all_reduce_by<tree>("tree out of place in pieces", 6000, false, 3),
      all_reduce_by<halving_doubling>("halving_doubling", 1000, true),
      all_reduce_by<primary<>>("primary", 1000, true),
      reduce_by<direct::reduce>("direct::reduce", 1000),
      reduce_by<ring::reduce>("ring::reduce", 100),
      reduce_by<ring::reduce>("ring::reduce in pieces", 4000, 3),
      reduce_by<tree::reduce>("tree::reduce", 100),
      reduce_by<tree::reduce>("tree::reduce in pieces", 4000, 3),
      reduce_by<primary<>::reduce>("primary::reduce", 1000),
      broadcast_by<direct::broadcast>("direct::broadcast", 1000),
      broadcast_by<ring::broadcast>("ring::broadcast", 100),
      broadcast_by<ring::broadcast>("ring::broadcast in pieces", 4000, 3),
      broadcast_by<tree::broadcast>("tree::broadcast", 100),
      broadcast_by<tree::broadcast>("tree::broadcast in pieces", 4000, 3),
      reduce_scatter_by<direct::reduce_scatter>("direct::reduce_scatter", 600),
      reduce_scatter_by<ring::reduce_scatter>("ring::reduce_scatter", 200),
      all_gather_by<direct::all_gather>("direct::all_gather", 600),
      all_gather_by<ring::all_gather>("ring::all_gather", 200),
      // By slots.
      reduce_by<one_shot::reduce>("one_shot::reduce", 100),
      broadcast_by<one_shot::broadcast>("one_shot::broadcast", 100),
      reduce_scatter_by<one_shot::reduce_scatter>("one_shot::reduce_scatter", 20),
      all_gather_by<one_shot::all_gather>("one_shot::all_gather", 20),
      scatter_by<one_shot::scatter>("one_shot::scatter", 20),
      gather_by<one_shot::gather>("one_shot::gather", 20),
      all_to_all_by<one_shot::all_to_all>("one_shot::all_to_all", 20, false),
      all_to_all_by<one_shot::all_to_all>("one_shot::all_to_all in place", 20, true),
      scatter_by<direct::scatter>("direct::scatter", 600),
      gather_by<direct::gather>("direct::gather", 600),
      all_to_all_by<direct::all_to_all>("direct::all_to_all", 600, false),
      all_to_all_by<direct::all_to_all>("direct::all_to_all in place", 600, true),
  };
  all.push_back(
      {"direct::barrier", steps_of<direct::barrier>, [](world_type&) { return memory{}; },
       [](world_type& world, memory&) { allfold::barrier<through<direct::barrier>>(world); }});
  all.push_back({"dissemination::barrier", steps_of<dissemination::barrier>,
                 [](world_type&) { return memory{}; },
                 [](world_type& world, memory&) {
                   allfold::barrier<through<dissemination::barrier>>(world);
                 }});
  return all;
}

// ---- one team in which something goes wrong ----

struct rank_story {
  outcome first, next;  ///< of the collective, and of a barrier behind it
  outcome whole;        ///< of all that the rank does
  bool tripped = false;
  bool undisturbed = true;  ///< nobody has written this rank's memory after it was told

  const outcome& told() const { return first.told() ? first : next; }
};

struct setting {
  int size;
  std::vector<fault> faults;  ///< by rank
  clock_type::duration timeout = patient;
  unsigned seed = 0;  ///< of when each rank comes, and of what it does with its memory
};

/// The rank's memory is its own again. Half of the ranks free it at once, which is what
/// AddressSanitizer watches; the others keep it and look whether somebody still writes to it.
bool take_back(memory& mine, bool frees, std::atomic<int>& ended, int size) {
  if (frees) {
    mine = {};
    ++ended;
    return true;
  }
  mine.fill(-7.0f);
  ++ended;
  const auto end = clock_type::now() + patient;
  while (ended < size && clock_type::now() < end) std::this_thread::yield();
  return mine.holds(-7.0f);
}

std::vector<rank_story> play(const subject& it, const setting& how) {
  std::vector<rank_story> all(at(how.size));
  std::atomic<int> ended{0};
  const auto body = [&](world_type& world) {
    std::mt19937 random{how.seed * 64 + static_cast<unsigned>(world.rank())};
    rank_story& story = all[at(world.rank())];
    armed_fault mine{how.faults[at(world.rank())], &world.shared()};
    memory own = it.prepare(world);
    for (unsigned i = random() % 4; i > 0; --i) std::this_thread::yield();
    armed = &mine;
    test::on_step = trip;
    story.first = attempt([&] { it.call(world, own); });
    armed = nullptr;
    story.tripped = mine.tripped;
    if (!story.first.told()) story.next = attempt([&] { allfold::barrier(world); });
    story.undisturbed = take_back(own, random() % 2 == 0, ended, how.size);
    if (story.first.told() && mine.kind != fault_kind::leaves)
      story.next = attempt([&] { allfold::barrier(world); });
  };
  const std::vector<outcome> ends = run_ranks(how.size, body, how.timeout);
  for (int rank = 0; rank < how.size; ++rank) all[at(rank)].whole = ends[at(rank)];
  return all;
}

/// What is wrong with how the ranks ended after a fault of one of them; empty if nothing is.
std::string judge(const std::vector<rank_story>& all, int culprit, fault_kind kind) {
  std::string wrong;
  const ending expected = kind == fault_kind::stalls ? ending::timeout : ending::lost;
  for (int rank = 0; rank < static_cast<int>(all.size()); ++rank) {
    const rank_story& story = all[at(rank)];
    const auto complain = [&](const std::string& what) {
      wrong += "\n  " + rank_name(rank) + " " + what + "; " + name_of(story.first.how) + ": " +
               story.first.text + "; " + name_of(story.next.how) + ": " + story.next.text;
    };
    if (story.whole.told()) complain("ended with " + story.whole.text);
    if (!story.undisturbed) complain("found its memory written after it was told");
    if (rank == culprit && kind == fault_kind::throws && story.first.text != "injected")
      complain("got another exception than its own");
    if (rank == culprit && kind == fault_kind::leaves && story.first.how != ending::other)
      complain("did not leave");
    if (rank != culprit && story.told().how != expected) complain("was not told");
    if (rank != culprit && kind != fault_kind::stalls &&
        !story.told().says(rank_name(culprit) + " threw in "))
      complain("was not told by whom");
    if (rank != culprit && kind == fault_kind::throws && !story.told().says("injected"))
      complain("was not told of what");
    const bool gone = rank == culprit && kind == fault_kind::leaves;
    if (!gone && all.size() > 1 && story.next.how != expected) complain("could go on");
  }
  return wrong;
}

/// A fault at one place. Empty if all ranks end as they should.
std::string inject(const subject& it, int size, int culprit, const fault& what, unsigned seed) {
  setting how{size, std::vector<fault>(at(size)), patient, seed};
  how.faults[at(culprit)] = what;
  std::vector<rank_story> all;
  if (what.kind != fault_kind::stalls) {
    all = play(it, how);
  } else if (size > 1) {
    // If the machine is so busy that the others lose patience sooner, they get more of it.
    for (how.timeout = 15ms; how.timeout < patient; how.timeout *= 2) {
      all = play(it, how);
      if (all[at(culprit)].tripped) break;
    }
  } else {
    return {};
  }
  std::string wrong = judge(all, culprit, what.kind);
  if (!all[at(culprit)].tripped) wrong += "\n  the fault was not met";
  if (!wrong.empty())
    wrong = "\n" + it.name + ", " + std::to_string(size) + " ranks, " + rank_name(culprit) +
            ", step " + std::to_string(what.index) + ", visit " + std::to_string(what.visit) +
            wrong;
  return wrong;
}

struct place {
  const subject* it;
  int size, culprit;
  fault what;
};

constexpr int most_ranks = std::min(6, test::most_ranks);

/// Every rank and every step of 1 to 6 ranks, the exit included; in pieces, the first and a later
/// one.
std::vector<place> all_places(const std::vector<subject>& subjects, fault_kind kind) {
  std::vector<place> places;
  for (const subject& it : subjects)
    for (int size = 1; size <= most_ranks; ++size)
      for (int culprit = 0; culprit < size; ++culprit)
        for (int index = 0; index <= it.steps(size); ++index)
          for (int visit = 0; visit < it.pieces; visit += 2)
            if (visit == 0 || index < it.steps(size))
              places.push_back({&it, size, culprit, {kind, index, visit}});
  return places;
}

/// Injects every fault, in several teams at a time where ranks sleep.
void check_every_place(fault_kind kind, int teams) {
  const std::vector<subject> subjects = all_subjects();
  const std::vector<place> places = all_places(subjects, kind);
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::string wrong;
  const auto work = [&] {
    for (std::size_t i = next++; i < places.size(); i = next++) {
      const place& here = places[i];
      const std::string found =
          inject(*here.it, here.size, here.culprit, here.what, static_cast<unsigned>(i));
      const std::lock_guard lock{mutex};
      if (wrong.size() < 4000) wrong += found;
    }
  };
  std::vector<std::thread> workers;
  for (int i = 0; i < teams; ++i) workers.emplace_back(work);
  for (std::thread& each : workers) each.join();
  MESSAGE(places.size(), " places");
  CHECK(places.size() > 1000);
  CHECK_MESSAGE(wrong.empty(), wrong);
}

}  // namespace

TEST_CASE("without a fault the faulty schedules do what they should") {
  for (const subject& it : all_subjects())
    for (int size = 1; size <= most_ranks; ++size)
      for (const rank_story& story : play(it, {size, std::vector<fault>(at(size))})) {
        CAPTURE(it.name);
        CHECK_MESSAGE(!story.first.told(), story.first);
        CHECK_MESSAGE(!story.next.told(), story.next);
      }
}

TEST_CASE("a rank throws at any step") { check_every_place(fault_kind::throws, 1); }

TEST_CASE("a rank leaves at any step") { check_every_place(fault_kind::leaves, 1); }

TEST_CASE("a rank stalls at any step") { check_every_place(fault_kind::stalls, 16); }

TEST_CASE("several ranks fail at once, anywhere") {
  const std::vector<subject> subjects = all_subjects();
  std::mt19937 random{20240607};
  const auto below = [&](int limit) {
    return static_cast<int>(random() % static_cast<unsigned>(limit));
  };
  for (unsigned seed = 0; seed < 600; ++seed) {
    const subject& it = subjects[at(below(static_cast<int>(subjects.size())))];
    setting how{2 + below(5), {}, patient, seed};
    how.faults.resize(at(how.size));
    for (fault& each : how.faults)
      if (below(2) == 0)
        each = {below(2) == 0 ? fault_kind::throws : fault_kind::leaves,
                below(it.steps(how.size) + 1), 0};
    how.faults[at(below(how.size))] = {fault_kind::throws, 0, 0};
    for (const rank_story& story : play(it, how)) {
      CAPTURE(it.name);
      CAPTURE(seed);
      CHECK_MESSAGE(story.told().told(), story.told());
      CHECK(story.undisturbed);
    }
  }
}

TEST_CASE("an operation throws in the midst of a long message") {
  const auto check = [&](auto algorithm, int culprit) {
    std::vector<rank_story> all(4);
    std::atomic<int> ended{0};
    run_ranks(4, [&](world_type& world) {
      rank_story& story = all[at(world.rank())];
      memory own{std::vector<float>(300'000, 1.0f), {}};
      brittle_sum::left = world.rank() == culprit ? 50'000 : -1;
      story.first = attempt([&] {
        allfold::all_reduce<decltype(algorithm)>(world, own.input, brittle_sum{});
        allfold::barrier(world);
      });
      story.undisturbed = take_back(own, world.rank() % 2 == 0, ended, 4);
    });
    for (int rank = 0; rank < 4; ++rank) {
      CHECK(all[at(rank)].first.how == (rank == culprit ? ending::other : ending::lost));
      CHECK(all[at(rank)].first.says("injected"));
      CHECK(all[at(rank)].undisturbed);
    }
  };
  for (int culprit = 0; culprit < 4; ++culprit) {
    check(allfold::ring{}, culprit);
    check(allfold::direct{}, culprit);
    check(allfold::halving_doubling{}, culprit);
    if (culprit != 1) check(allfold::tree{}, culprit);  // which folds nothing there
  }
}
