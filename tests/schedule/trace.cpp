#include <allfold/schedule/trace.hpp>

#include "schedules.hpp"
#include "script.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

namespace {

using namespace allfold;

/// Checks every event against what has happened before it.
class witness {
 public:
  /// The script must outlive the witness.
  witness(const script& plan, int pieces)
      : plan_{plan}, pieces_{pieces}, ranks_(static_cast<std::size_t>(plan.size)) {
    int longest_lag = 0;
    for (const int lag : plan.lags) longest_lag = std::max(longest_lag, lag);
    for (int round = 0; round < pieces + longest_lag; ++round)
      for (int index = 0; index < plan.step_count(); ++index) {
        const int piece = round - plan.lags[static_cast<std::size_t>(index)];
        if (0 <= piece && piece < pieces) agenda_.push_back({index, piece});
      }
  }

  void operator()(const event& now) {
    state& it = ranks_[static_cast<std::size_t>(now.rank)];
    if (now.kind == event::what::enter) {
      CHECK(!it.entered);
      it.entered = true;
      return;
    }
    CHECK(now.kind == event::what::exit);
    CHECK(!it.left);
    skip_idle(now.rank);
    CHECK(it.done == agenda_.size());
    for (int piece = 0; piece < pieces_; ++piece)
      expect_met(plan_.exits[static_cast<std::size_t>(now.rank)], piece);
    it.left = true;
  }
  void operator()(const event& now, const step& what) {
    CHECK(now.kind == event::what::step);
    CHECK(!what.idle());
    skip_idle(now.rank);
    state& it = ranks_[static_cast<std::size_t>(now.rank)];
    CHECK(it.entered);
    CHECK(!it.left);
    REQUIRE(it.done < agenda_.size());
    CHECK(agenda_[it.done].index == now.index);
    CHECK(agenda_[it.done].piece == now.piece);
    expect_met(what.waits, now.piece);
    ++it.done;
  }
  void expect_end() {
    for (const state& each : ranks_) {
      CHECK(each.entered);
      CHECK(each.left);
    }
  }

 private:
  struct turn {
    int index;
    int piece;
  };
  struct state {
    bool entered = false;
    bool left = false;
    std::size_t done = 0;  ///< of the agenda
  };

  /// Steps without anything to do are not told of.
  void skip_idle(int rank) {
    std::size_t& done = ranks_[static_cast<std::size_t>(rank)].done;
    const std::vector<step>& steps = plan_.steps[static_cast<std::size_t>(rank)];
    while (done < agenda_.size() && steps[static_cast<std::size_t>(agenda_[done].index)].idle())
      ++done;
  }
  void expect_met(const waits& list, int piece) {
    for (const wait& each : list)
      for (int i = 0; i < each.who.count; ++i) {
        const state& peer = ranks_[static_cast<std::size_t>(each.who.at(i, plan_.size))];
        CHECK(peer.entered);
        if (each.step == entered) continue;
        std::size_t place = 0;
        while (agenda_[place].index != each.step || agenda_[place].piece != piece) ++place;
        CHECK(peer.done > place);
      }
  }

  const script& plan_;
  int pieces_;
  std::vector<turn> agenda_;
  std::vector<state> ranks_;
};

struct silent {
  void operator()(const event&) const {}
  void operator()(const event&, const step&) const {}
};

template <class Schedule>
trace_end end_of(int size) {
  return trace(Schedule{}, size, 1, silent{});
}

}  // namespace

TEST_CASE_TEMPLATE("a trace is an order that the waits allow", Schedule, direct, ring, tree,
                   halving_doubling, tree::broadcast, direct::all_to_all, dissemination::barrier) {
  for (int size = 1; size <= 9; ++size)
    for (const int pieces : {1, 2, 4}) {
      INFO(title<Schedule>(size), ", ", pieces, " pieces");
      const script plan = script_of(Schedule{}, size);
      witness it{plan, pieces};
      const trace_end end = trace(Schedule{}, size, pieces, it);
      CHECK(end.finished);
      CHECK(!end.impossible);
      it.expect_end();
    }
}

TEST_CASE("a trace that gets stuck says who stands where and waits for whom") {
  struct stuck_at_entry : dissemination::barrier {  // waits for the same round of the others
    step at(int rank, int size, int index) const {
      return step{}.after(only((rank + 1) % size), index);
    }
  };
  const trace_end end = end_of<stuck_at_entry>(4);
  CHECK(!end.finished);
  CHECK(!end.impossible);
  CHECK(end.rank == 3);
  CHECK(end.index == 0);
  CHECK(end.peer == 0);

  struct stuck_at_exit : ring {  // waits for a step that its successor never takes
    waits exit(int rank, int size) const {
      waits list;
      list.push({only((rank + 1) % size), steps(size)});
      return list;
    }
  };
  const trace_end late = end_of<stuck_at_exit>(3);
  CHECK(!late.finished);
  CHECK(late.impossible);
  CHECK(late.index == 4);
  CHECK(late.peer == (late.rank + 1) % 3);
}
