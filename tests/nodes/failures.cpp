// What goes wrong on one level is told on both: every rank gets an error, none hangs.
#include <allfold/allfold.hpp>

#include "../communicator/outcome.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/engine.hpp"
#include "support/nodes.hpp"

namespace {

using namespace outcomes;
using namespace std::chrono_literals;
using allfold::direct;
using allfold::hierarchical;
using allfold::in_rank_order;
using allfold::ring;
using allfold::tree;
using test::shape;
using test::world;

/// A collective that all ranks call.
struct way {
  std::string name;
  std::function<void(world&)> call;
};

template <class Algorithm>
way all_reduce_of(const std::string& name, std::size_t count) {
  return {name, [count](world& ranks) {
            std::vector<float> data(count, 1);
            allfold::all_reduce<Algorithm>(ranks, data);
          }};
}
std::vector<way> ways() {
  return {all_reduce_of<hierarchical<>>("short", 5),
          all_reduce_of<hierarchical<>>("one piece", 200),
          all_reduce_of<hierarchical<>>("many pieces", 20'001),
          all_reduce_of<hierarchical<ring, tree>>("ring and tree", 20'001),
          all_reduce_of<hierarchical<tree, ring>>("one lane, many pieces", 20'001),
          all_reduce_of<direct>("short in order", 1),
          all_reduce_of<direct>("many pieces in order", 20'001),
          {"broadcast",
           [](world& ranks) {
             std::vector<float> data(9'001);
             allfold::broadcast(ranks, data, 1);
           }},
          {"reduce",
           [](world& ranks) {
             std::vector<float> data(9'001);
             allfold::reduce<hierarchical<>>(ranks, data, ranks.size() - 1);
           }},
          {"all_to_all",
           [](world& ranks) {
             std::vector<float> data(100 * at(ranks.size()));
             allfold::all_to_all(ranks, data);
           }},
          {"barrier", [](world& ranks) { allfold::barrier(ranks); }}};
}

/// How ranks ended that called some good collectives, then `mine`, then more.
struct story {
  outcome first, next;
  const outcome& told() const { return first.told() ? first : next; }
};
/// What a rank does. It leaves by giving up its world.
using act = std::function<void(std::optional<world>&)>;

/// Runs ranks that call some good collectives, then act. What each met with, by rank.
std::vector<story> play(shape its, const act& mine,
                        std::chrono::steady_clock::duration timeout = patient) {
  std::vector<story> all(at(its.nodes * its.lanes));
  const auto begin = std::chrono::steady_clock::now();
  run_ranks(
      its.nodes * its.lanes,
      [&](test::threads& flat) {
        std::optional<world> ranks;
        ranks.emplace(flat, its);
        story& own = all[at(ranks->rank())];
        for (const way& each : ways()) each.call(*ranks);
        own.first = attempt([&] { mine(ranks); });
        own.next = attempt([&] {
          for (int i = 0; ranks && i < 4; ++i) allfold::barrier(*ranks);
        });
      },
      timeout);
  CHECK(std::chrono::steady_clock::now() - begin < 20s);  // nobody has waited for the time limit
  return all;
}

constexpr shape shapes[] = {{2, 2}, {3, 1}, {1, 3}, {2, 3}};

/// Every rank but `culprit`, if there is one, is told `how`, with all of `parts` in the text.
void check_told(const std::vector<story>& all, int culprit, ending how,
                const std::vector<std::string>& parts) {
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (static_cast<int>(rank) == culprit) continue;
    CAPTURE(rank);
    CHECK_MESSAGE(all[rank].told().how == how, all[rank].told().text);
    CHECK_MESSAGE(all[rank].next.how == how, all[rank].next.text);  // both levels are poisoned
    CHECK(all[rank].told().says("allfold: rank " + std::to_string(rank) + " of "));
    for (const std::string& each : parts)
      CHECK_MESSAGE(all[rank].told().says(each), each << " in " << all[rank].told().text);
  }
}

/// "rank 5 of 6 (node 1, lane 2)".
std::string named(shape its, int rank) {
  return rank_name(rank) + " of " + std::to_string(its.nodes * its.lanes) + " (node " +
         std::to_string(rank / its.lanes) + ", lane " + std::to_string(rank % its.lanes) + ")";
}

/// Calls `work(shape, way, culprit)` for every shape, every way, and the first and the last rank.
template <class Work>
void for_each_case(Work work) {
  for (const shape its : shapes)
    for (const way& each : ways())
      for (const int culprit : {0, its.nodes * its.lanes - 1}) {
        CAPTURE(its.nodes);
        CAPTURE(its.lanes);
        CAPTURE(each.name);
        CAPTURE(culprit);
        work(its, each, culprit);
      }
}

/// An operation that throws on one rank, at the n-th fold from now.
struct throwing_sum {
  std::atomic<int>* left;
  bool here;
  float operator()(float a, float b) const {
    if (here && --*left == 0) throw std::runtime_error{"spoilt"};
    return a + b;
  }
};

}  // namespace

TEST_CASE("a rank that leaves is missed on every node") {
  for_each_case([](shape its, const way& each, int culprit) {
    const auto all = play(its, [&](std::optional<world>& ranks) {
      if (ranks->rank() == culprit) return ranks.reset();
      for (;;) each.call(*ranks);
    });
    check_told(all, culprit, ending::lost, {"has left"});
    CHECK(all[at(culprit)].first.how == ending::returned);
  });
}

TEST_CASE("a rank that gives up is heard on every node, with its name") {
  for_each_case([](shape its, const way& each, int culprit) {
    const auto all = play(its, [&](std::optional<world>& ranks) {
      if (ranks->rank() == culprit) return ranks->abort("the loss is not finite");
      for (;;) each.call(*ranks);
    });
    check_told(all, culprit, ending::usage,
               {named(its, culprit) + " gives up: the loss is not finite"});
    CHECK(all[at(culprit)].next.how == ending::usage);
  });
}

TEST_CASE("a rank that leaves with an exception is heard, with its text") {
  const auto all = play({2, 2}, [&](std::optional<world>& ranks) {
    if (ranks->rank() == 1)
      return ranks->leave_with(std::make_exception_ptr(std::runtime_error{"no sample 7"}));
    for (;;) allfold::barrier(*ranks);
  });
  check_told(all, 1, ending::lost, {named({2, 2}, 1) + " threw: no sample 7"});
}

TEST_CASE("an operation that throws on one rank fails all") {
  for (const shape its : shapes)
    for (const int culprit : {0, its.nodes * its.lanes - 1})
      for (const std::size_t count : {5u, 200u, 20'001u})
        for (const int folds : {1, 3, 1500}) {
          if (count == 5 && culprit != 0) continue;  // need not fold anything
          CAPTURE(its.nodes);
          CAPTURE(its.lanes);
          CAPTURE(culprit);
          CAPTURE(count);
          CAPTURE(folds);
          std::atomic<int> left{folds};
          const auto all = play(its, [&](std::optional<world>& ranks) {
            const throwing_sum by{&left, ranks->rank() == culprit};
            for (;;) {
              std::vector<float> data(count, 1);
              allfold::all_reduce<hierarchical<ring, ring>>(*ranks, data, by);
            }
          });
          for (std::size_t rank = 0; rank < all.size(); ++rank) {
            CAPTURE(rank);
            const bool here = static_cast<int>(rank) == culprit;
            CHECK_MESSAGE(all[rank].first.how == (here ? ending::other : ending::lost),
                          all[rank].first.text);
            CHECK_MESSAGE(all[rank].first.says("spoilt"), all[rank].first.text);
          }
        }
}

TEST_CASE("ranks of a node that call different collectives are told of on all nodes") {
  for (const shape its : {shape{2, 2}, {3, 2}, {2, 3}})
    for (const int odd : {0, its.nodes * its.lanes - 1}) {
      CAPTURE(its.nodes);
      CAPTURE(odd);
      const auto all = play(its, [&](std::optional<world>& ranks) {
        std::vector<float> data(ranks->rank() == odd ? 6'000 : 6'001);
        allfold::all_reduce<hierarchical<>>(*ranks, data);
        for (;;) allfold::barrier(*ranks);
      });
      check_told(all, -1, ending::mismatch,
                 {"inside node " + std::to_string(odd / its.lanes), "6000 x float", "6001 x float",
                  "hierarchical<direct, automatic>", "failures.cpp:"});
    }
}

TEST_CASE("nodes that call different collectives are told of on all nodes") {
  struct pair_of_calls {
    act usual, odd;
    std::string usual_text, odd_text;
  };
  const auto call = [](way each) {
    return [each](std::optional<world>& ranks) {
      each.call(*ranks);
      for (;;) allfold::barrier(*ranks);
    };
  };
  const auto all_ways = ways();
  const pair_of_calls pairs[] = {
      {call(all_reduce_of<direct>("", 1)), call(all_reduce_of<direct>("", 2)), "1 x float",
       "2 x float"},
      {call(all_reduce_of<direct>("", 9'000)), call(all_reduce_of<hierarchical<>>("", 9'000)),
       "hierarchical<direct, in_rank_order>", "hierarchical<direct, automatic>"},
      {call(all_reduce_of<hierarchical<ring, direct>>("", 9'000)),
       call(all_reduce_of<hierarchical<direct, direct>>("", 9'000)), "hierarchical<ring, direct>",
       "hierarchical<direct, direct>"},
      {call(all_ways[7]), call(all_ways[8]), "broadcast", "reduce"},
      {call(all_ways[9]), call(all_ways[10]), "all_to_all", "barrier"}};
  for (const shape its : {shape{2, 1}, {2, 2}, {3, 2}, {2, 3}})
    for (const int odd : {0, its.nodes - 1})
      for (const pair_of_calls& each : pairs) {
        CAPTURE(its.nodes);
        CAPTURE(its.lanes);
        CAPTURE(odd);
        CAPTURE(each.odd_text);
        const auto all = play(its, [&](std::optional<world>& ranks) {
          (ranks->node() == odd ? each.odd : each.usual)(ranks);
        });
        check_told(all, -1, ending::mismatch, {each.usual_text, each.odd_text, " nodes "});
      }
}

TEST_CASE("a rank that is late is told of on every node") {
  for (const shape its : {shape{2, 2}, {1, 3}, {3, 1}}) {
    std::vector<story> all;
    // A machine can be so busy that ranks run out of a short limit for another reason.
    auto limit = 300ms;
    const auto play_late = [&] {
      all = play(
          its,
          [&](std::optional<world>& ranks) {
            if (ranks->rank() == 1) std::this_thread::sleep_for(3 * limit);
            std::vector<float> data(20'001);
            allfold::all_reduce<hierarchical<>>(*ranks, data);
            for (;;) allfold::barrier(*ranks);
          },
          limit);
      return std::all_of(all.begin(), all.end(), [](const story& each) {
        return each.told().how == ending::timeout && each.told().says(" in all_reduce");
      });
    };
    if (!play_late()) {
      limit = 3000ms;
      play_late();
    }
    check_told(all, -1, ending::timeout,
               {"has waited " + std::to_string(limit.count()) + " ms in all_reduce"});
  }
}

namespace {

/// The number among all ranks of the one that a text says is late: of a level's ranks, which the
/// text says how to call among all, it is the last that somebody waits for. Or −1.
int late_in(const std::string& text) {
  static const std::regex level{R"(\(its ranks ([0-9, ]+) are ranks ([0-9, ]+) of all\): rank)"};
  static const std::regex late{"for rank ([0-9]+), which (has not entered it|is )"};
  std::smatch names, rank;
  std::string rest = text;  // from the level that has seen it
  std::vector<std::string> numbers;
  while (std::regex_search(rest, names, level)) {
    numbers = {names[1], names[2]};
    rest = names.suffix();
  }
  if (numbers.empty() || !std::regex_search(rest, rank, late)) return -1;
  std::istringstream own{numbers[0]}, all{numbers[1]};
  int one = -1, other = -1;
  char comma = 0;
  while (own >> one && all >> other && one != std::stoi(rank[1])) own >> comma, all >> comma;
  return one == std::stoi(rank[1]) ? other : -1;
}

/// What is wrong with what ranks are told by such calls of which one rank is late; and if `lag` is
/// not 0, the others of its node come so much later than those of other nodes.
std::string told_of_late(shape its, const way& call, int late,
                         std::chrono::steady_clock::duration limit,
                         std::chrono::steady_clock::duration lag) {
  std::atomic<int> told{0};
  const int others = its.nodes * its.lanes - 1;
  const auto all = play(
      its,
      [&](std::optional<world>& ranks) {
        if (ranks->rank() == late)
          for (const auto end = std::chrono::steady_clock::now() + 10s;
               told < others && std::chrono::steady_clock::now() < end;)
            std::this_thread::sleep_for(1ms);
        else if (ranks->node() == late / its.lanes)
          std::this_thread::sleep_for(lag);
        try {
          for (;;) call.call(*ranks);
        } catch (...) {
          ++told;
          throw;
        }
      },
      limit);
  std::string wrong;
  for (const story& each : all)
    if (each.first.how != ending::timeout || late_in(each.first.text) != late)
      wrong += "\n  " + each.first.text;
  return wrong;
}

}  // namespace

TEST_CASE("the rank that is late is named on every node, whoever waits for whom meanwhile") {
  const auto all_ways = ways();
  for (const shape its : {shape{2, 2}, {3, 2}})
    for (const std::size_t index : {0u, 2u, 4u, 6u})
      for (const bool lags : {false, true}) {
        const int late = lags ? 1 : its.nodes * its.lanes - 1;
        std::string wrong = "not tried";
        // A machine can be so busy that ranks run out of a short limit for another reason.
        for (const auto limit : {200ms, 3000ms}) {
          wrong = told_of_late(its, all_ways[index], late, limit, lags ? limit * 2 / 3 : 0ms);
          if (wrong.empty()) break;
        }
        CHECK_MESSAGE(wrong.empty(), its.nodes << " x " << its.lanes << " ranks, "
                                               << all_ways[index].name
                                               << (lags ? ", nodes lag" : "") << wrong);
      }
}

TEST_CASE("a rank that waits on another level is waited for twice as long, and no longer") {
  const auto all = run_ranks(
      2,
      [](test::threads& flat) {
        if (flat.rank() == 0) {
          flat.shared()->of(0).elsewhere = 1;  // and there it stays
          std::this_thread::sleep_for(1200ms);
        }
        allfold::barrier(flat);
      },
      300ms);
  for (const outcome& each : all) {
    CHECK(each.how == ending::timeout);
    CHECK_MESSAGE(each.says("rank 1 has waited 600 ms"), each.text);
    CHECK(each.says("for rank 0, which is in a collective of another level and has not entered"));
  }
}

TEST_CASE("any thread may give up, also while neighbours are being connected") {
  for (int round = 0; round < 40; ++round) {
    std::atomic<bool> begun{false};
    const auto all = run_ranks(4, [&](test::threads& flat) {
      world ranks{flat, {2, 2}};
      std::thread other;
      if (ranks.rank() == 3)
        other = std::thread{[&] {
          while (!begun) std::this_thread::yield();
          std::this_thread::sleep_for(std::chrono::microseconds{round * 10});
          ranks.abort("a watchdog barks");
        }};
      begun = true;
      const outcome told = attempt([&] {
        for (;;) all_reduce_of<direct>("", 2'000).call(ranks);
      });
      if (other.joinable()) other.join();
      REQUIRE_MESSAGE(told.says("rank 3 of 4 (node 1, lane 1) gives up: a watchdog"), told.text);
    });
    for (const outcome& each : all) CHECK_MESSAGE(!each.told(), each.text);
  }
}

namespace {

/// Connects lanes, and does something each time when ranks have been divided.
class hooked_engine : public test::engine_over<test::threads> {
  using base = test::engine_over<test::threads>;

 public:
  static inline thread_local std::function<void()> hook;

  explicit hooked_engine(base of) : base{std::move(of)} {}
  hooked_engine split(int color, int key, std::source_location where) {
    hooked_engine made{base::split(color, key, where)};
    if (hook) hook();
    return made;
  }
};

}  // namespace

TEST_CASE("who gives up while neighbours are being connected fails them too") {
  std::atomic<int> told{0};
  run_ranks(3, [&](test::threads& flat) {
    auto inside = flat.split(flat.rank());
    hooked_engine across{test::engine_over{flat.split(0)}};
    allfold::nodes::communicator ranks{std::move(inside), std::move(across)};
    int splits = 0;
    hooked_engine::hook = [&] {  // the second makes nodes 1 and 2 neighbours
      if (++splits == 2) std::thread{[&] { ranks.abort("a watchdog barks"); }}.join();
    };
    ranks.connect_neighbours(std::source_location::current());
    hooked_engine::hook = {};
    if (ranks.node() == 0) return;
    auto& pair = ranks.neighbour(ranks.node() == 1 ? allfold::nodes::tier::after
                                                   : allfold::nodes::tier::before);
    told += attempt([&] { allfold::barrier(pair); }).says("a watchdog barks");
  });
  CHECK(told == 2);
}

TEST_CASE("nodes of different sizes are refused on every rank, by their numbers") {
  const auto all = run_ranks(5, [](test::threads& flat) {
    const int node = flat.rank() / 3;  // three ranks, and two
    auto inside = flat.split(node);
    auto across = flat.split(inside.rank());
    const allfold::nodes::communicator made{std::move(inside), std::move(across)};
  });
  for (const outcome& each : all) {
    CHECK(each.how == ending::usage);
    CHECK_MESSAGE(each.says("not all nodes have as many ranks: node "), each.text);
    CHECK((each.says("node 0 has 3, node 1 has 2") || each.says("node 1 has 2, node 0 has 3")));
  }
}

TEST_CASE("lanes in which the nodes have other numbers are refused") {
  const auto all = run_ranks(4, [](test::threads& flat) {
    auto inside = flat.split(flat.rank() / 2);
    const int lane = inside.rank();
    auto across = flat.split(lane, lane == 0 ? flat.rank() : -flat.rank());
    const allfold::nodes::communicator made{std::move(inside), std::move(across)};
  });
  for (const outcome& each : all) {
    CHECK(each.how == ending::usage);
    CHECK_MESSAGE(each.says("a node's ranks are not the same node across"), each.text);
  }
}

TEST_CASE("different options are refused") {
  const auto made_with = [](std::function<allfold::nodes::options(int rank)> options) {
    return run_ranks(4, [&](test::threads& flat) {
      const world made{flat, {2, 2}, options(flat.rank())};
    });
  };
  for (const int odd : {0, 1, 2, 3}) {
    for (const outcome& each : made_with([&](int rank) {
           return allfold::nodes::options{.piece_bytes = rank == odd ? 512u : 1024u};
         })) {
      CHECK(each.how == ending::mismatch);
      CHECK_MESSAGE(each.says("options::piece_bytes is "), each.text);
    }
    for (const outcome& each : made_with([&](int rank) {
           return allfold::nodes::options{.one_lane_bytes = rank == odd ? 512u : 1024u};
         }))
      CHECK(each.says("options::one_lane_bytes is "));
  }
  for (const outcome& each :
       made_with([](int) { return allfold::nodes::options{.piece_bytes = 0}; })) {
    CHECK(each.how == ending::usage);
    CHECK(each.says("a piece can't have 0 bytes"));
  }
}

TEST_CASE("a call that can't be right is told of on every node") {
  const auto all = play({2, 2}, [](std::optional<world>& ranks) {
    std::vector<float> data(ranks->rank() == 3 ? 7 : 8), part(2);
    allfold::reduce_scatter<hierarchical<>>(*ranks, data, part);
    for (;;) allfold::barrier(*ranks);
  });
  for (const story& each : all) {
    CHECK(each.told().how == ending::usage);
    CHECK_MESSAGE(each.told().says("the input has 7 elements, which can't be divided evenly"),
                  each.told().text);
  }
}

TEST_CASE("a companion fails for itself") {
  run_ranks(4, [](test::threads& flat) {
    world ranks{flat, {2, 2}};
    auto second = ranks.companion();
    if (second.rank() == 2) second.abort("no more");
    const outcome told = attempt([&] {
      for (;;) allfold::barrier(second);
    });
    CHECK(told.says("no more"));
    std::vector<int> data{1};
    allfold::all_reduce(ranks, data);
    CHECK(data[0] == 4);
  });
}
