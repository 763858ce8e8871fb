// One change makes a sound schedule unsound, and the proof says why and where.
#include "schedules.hpp"
#include "script.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

namespace {

using namespace allfold;

/// What else the change does harm to.
enum class besides { nothing, race, content };

struct refusal {
  flaw what;
  int from;           ///< over fewer ranks the change does no harm
  int shown;          ///< over so many ranks
  const char* where;  ///< the flaw shows here
  besides also = besides::nothing;
};

bool is_race(flaw what) { return flaw::read_too_early <= what && what <= flaw::touched_after_exit; }
bool is_hang(flaw what) { return what == flaw::impossible_wait || what == flaw::circular_wait; }

void expect(const proof& found, const refusal& why) {
  CHECK(name_of(found.what) == name_of(why.what));
  CHECK(!found.sound());
  CHECK(found.deadlock_free == !is_hang(why.what));
  CHECK(found.race_free == !(is_race(why.what) || why.also == besides::race));
  CHECK(found.complete == (is_race(why.what) && why.also != besides::content));
}

/// Expects that Base is sound over 1 to 9 ranks, and refused for `why` once `change` is made to it.
template <class Base>
void refuses(const refusal& why, void (*change)(script&)) {
  for (int size = 1; size <= 9; ++size) {
    INFO(title<Base>(size));
    script plan = script_of(Base{}, size);
    CHECK(verdict(prove(plan)) == "sound");
    change(plan);
    const proof found = prove(plan);
    if (size < why.from)
      CHECK(verdict(found) == "sound");
    else
      expect(found, why);
    if (size == why.shown)
      CHECK(verdict(found) == std::string{name_of(why.what)} + ": " + why.where);
  }
}

void forget_exits(script& plan) {
  for (waits& each : plan.exits) each = {};
}
/// Changes every step of every rank that has sources.
template <class Change>
void change_steps(script& plan, Change change) {
  for (int rank = 0; rank < plan.size; ++rank)
    for (int index = 0; index < plan.step_count(); ++index) {
      step& now = plan.steps[static_cast<std::size_t>(rank)][static_cast<std::size_t>(index)];
      if (!now.sources.empty()) change(now, rank, index);
    }
}
/// Changes every wait for a step of another rank by `difference` steps.
void shift_waits(waits& list, int difference) {
  for (int i = 0; i < list.count; ++i)
    if (list.items[i].step != entered) list.items[i].step += difference;
}

}  // namespace

TEST_CASE("touched_after_exit: nobody waits before leaving") {
  refuses<ring>({flaw::touched_after_exit, 2, 4, "rank 2, step 3, peer 1, chunk 1"}, forget_exits);
  refuses<tree>({flaw::touched_after_exit, 2, 4, "rank 1, step 3, peer 3, chunk 1"}, forget_exits);
  refuses<direct>({flaw::touched_after_exit, 2, 4, "rank 1, step 0, peer 0, chunk 1"},
                  forget_exits);
  refuses<ring::reduce>({flaw::touched_after_exit, 2, 4, "rank 2, step 0, peer 1, chunk 0"},
                        forget_exits);
}

TEST_CASE("touched_after_exit: the exit waits for the step before the last") {
  refuses<ring>({flaw::touched_after_exit, 2, 4, "rank 0, step 5, peer 3, chunk 1"},
                [](script& plan) {
                  for (waits& each : plan.exits) shift_waits(each, -1);
                });
}

TEST_CASE("touched_after_exit: not all readers have been waited for on the way") {
  refuses<halving_doubling>({flaw::touched_after_exit, 4, 4, "rank 0, step 6, peer 2, chunk 0"},
                            [](script& plan) {
                              change_steps(plan, [](step& now, int, int) {
                                if (now.waits.count == 2) now.waits.count = 1;
                              });
                            });
}

TEST_CASE("read_too_early: a wait is off by one") {
  refuses<ring::broadcast>(
      {flaw::read_too_early, 2, 4, "rank 1, step 0, peer 0, chunk 0"}, [](script& plan) {
        change_steps(plan, [](step& now, int, int) { shift_waits(now.waits, -1); });
      });
}

TEST_CASE("read_too_early: scratch memory is used again before it is read") {
  refuses<ring::reduce_scatter>(
      {flaw::read_too_early, 5, 5, "rank 3, step 1, peer 2, chunk 0", besides::content},
      [](script& plan) {
        change_steps(plan, [](step& now, int, int) {
          if (now.waits.count == 2) now.waits.count = 1;
        });
      });
}

TEST_CASE("overwritten_too_early: one rank uses scratch memory again before it is read") {
  refuses<ring::reduce_scatter>(
      {flaw::overwritten_too_early, 5, 5, "rank 0, step 2, peer 1, chunk 0"}, [](script& plan) {
        change_steps(plan, [](step& now, int rank, int index) {
          if (rank == 0 && index == 2 && now.waits.count == 2) now.waits.count = 1;
        });
      });
}

TEST_CASE("written_twice: all ranks do what one should do") {
  refuses<direct>({flaw::written_twice, 2, 4, "rank 1, step 0, peer 0, chunk 0"}, [](script& plan) {
    plan.chunks = 1;
    for (auto& steps : plan.steps) steps[0] = plan.steps[0][0];
  });
}

TEST_CASE("written_twice: all ranks write the same chunk") {
  refuses<direct::gather>(
      {flaw::written_twice, 2, 4, "rank 1, step 0, peer 0, chunk 0", besides::content},
      [](script& plan) {
        change_steps(plan, [](step& now, int, int) { now.targets.items[0].chunk = 0; });
      });
}

TEST_CASE("touched_before_entry: nobody is waited for") {
  const auto eager = [](script& plan) {
    change_steps(plan, [](step& now, int, int) { now.waits = {}; });
  };
  refuses<direct>({flaw::touched_before_entry, 2, 4, "rank 0, step 0, peer 1, chunk 0"}, eager);
  refuses<one_shot>({flaw::touched_before_entry, 2, 4, "rank 0, step 0, peer 1, chunk 0"}, eager);
}

TEST_CASE("touched_before_entry: one rank is not waited for") {
  refuses<direct>({flaw::touched_before_entry, 2, 4, "rank 0, step 0, peer 3, chunk 0"},
                  [](script& plan) {
                    change_steps(plan, [](step& now, int, int) { --now.waits.items[0].who.count; });
                  });
}

TEST_CASE("circular_wait: all wait for the step that the predecessor is about to take") {
  refuses<ring>({flaw::circular_wait, 2, 4, "rank 3, step 0, peer 2, chunk -1"}, [](script& plan) {
    change_steps(plan, [](step& now, int, int index) {
      for (int i = 0; i < now.waits.count; ++i) now.waits.items[i].step = index;
    });
  });
}

TEST_CASE("circular_wait: folding up lags behind copying down") {
  refuses<tree>({flaw::circular_wait, 2, 4, "rank 3, step 2, peer 2, chunk -1"}, [](script& plan) {
    std::swap(plan.lags[0], plan.lags[2]);
    std::swap(plan.lags[1], plan.lags[3]);
  });
}

TEST_CASE("circular_wait: others hear of a step without work only with the next one") {
  const auto verdict_if_rank_0_begins = [](const step& first) {
    script plan = script_of(direct::barrier{}, 2);
    plan.lags = {0, 0};
    plan.steps[0] = {first, step{}.after(only(1), 0)};
    plan.steps[1] = {step{}.after(only(0), 0), step{}};
    return verdict(prove(plan));
  };
  CHECK(verdict_if_rank_0_begins(step{}.after(only(0), entered)) == "sound");
  CHECK(verdict_if_rank_0_begins(step{}) ==
        "ranks wait in a circle: rank 1, step 0, peer 0, chunk -1");
}

TEST_CASE("impossible_wait: there is no such step") {
  refuses<ring>({flaw::impossible_wait, 2, 4, "rank 1, step 6, peer 2, chunk -1"},
                [](script& plan) {
                  for (waits& each : plan.exits) shift_waits(each, 1);
                });
}

TEST_CASE("impossible_wait: there is no such rank") {
  refuses<direct::barrier>({flaw::impossible_wait, 1, 4, "rank 0, step 0, peer -1, chunk -1"},
                           [](script& plan) {
                             for (waits& each : plan.exits) each.push({only(-1), entered});
                           });
}

TEST_CASE("reads_nothing: partial folds are looked for where none are") {
  refuses<ring::reduce>({flaw::reads_nothing, 3, 4, "rank 3, step 0, peer -1, chunk 0"},
                        [](script& plan) {
                          change_steps(plan, [](step& now, int, int) {
                            operand& first = now.sources.items[0];
                            if (first.where == buffer::scratch) first.where = buffer::output;
                          });
                        });
}

TEST_CASE("reads_nothing: a wait in a ring is off by one") {
  refuses<ring>({flaw::reads_nothing, 2, 4, "rank 0, step 1, peer -1, chunk 1", besides::race},
                [](script& plan) {
                  change_steps(plan, [](step& now, int, int) { shift_waits(now.waits, -1); });
                });
}

TEST_CASE("reads_nothing: copied from a rank that is not the root") {
  refuses<direct::broadcast>(
      {flaw::reads_nothing, 2, 4, "rank 1, step 0, peer -1, chunk 0"}, [](script& plan) {
        change_steps(plan,
                     [&](step& now, int rank, int) { now.sources.items[0].who = only(rank); });
      });
}

TEST_CASE("wrong_contribution: the root gives, but not what it was asked for") {
  refuses<direct::scatter>({flaw::wrong_contribution, 2, 4, "rank 0, step -1, peer 0, chunk 0"},
                           [](script& plan) {
                             change_steps(plan, [&](step& now, int rank, int) {
                               now.sources.items[0].chunk = (rank + 1) % plan.size;
                             });
                           });
}

TEST_CASE("wrong_contribution: the chunk of the wrong rank") {
  refuses<direct::all_to_all>(
      {flaw::wrong_contribution, 2, 4, "rank 0, step -1, peer 1, chunk 1"}, [](script& plan) {
        change_steps(plan, [](step& now, int, int) { now.sources.items[0].chunk = now.chunk; });
      });
}

TEST_CASE("wrong_contribution: the wrong chunk is folded") {
  refuses<direct>({flaw::wrong_contribution, 2, 4, "rank 0, step -1, peer 0, chunk 0"},
                  [](script& plan) {
                    change_steps(plan, [&](step& now, int, int) {
                      now.sources.items[0].chunk = (now.chunk + 1) % plan.size;
                    });
                  });
}

TEST_CASE("missing_contribution: one share does not reach the root") {
  refuses<direct::reduce>({flaw::missing_contribution, 1, 4, "rank 0, step -1, peer -1, chunk 3"},
                          [](script& plan) { plan.steps.back()[0].targets = {}; });
}

TEST_CASE("missing_contribution: one rank is not folded") {
  refuses<direct>(
      {flaw::missing_contribution, 2, 4, "rank 0, step -1, peer 3, chunk 0"}, [](script& plan) {
        if (plan.size == 1) return;
        change_steps(plan, [](step& now, int, int) { --now.sources.items[0].who.count; });
      });
}

TEST_CASE("missing_contribution: one rank gets no result") {
  refuses<primary<0>>(
      {flaw::missing_contribution, 2, 4, "rank 3, step -1, peer -1, chunk 0"}, [](script& plan) {
        if (plan.size == 1) return;
        change_steps(plan, [](step& now, int, int) { --now.targets.items[0].who.count; });
      });
}

TEST_CASE("folded_twice: a rank folds itself once more") {
  refuses<direct>({flaw::folded_twice, 1, 4, "rank 0, step -1, peer 0, chunk 0"}, [](script& plan) {
    change_steps(plan, [](step& now, int rank, int) { now.from(only(rank), buffer::input); });
  });
}

TEST_CASE("folded_twice: a partial fold is folded twice") {
  refuses<ring>({flaw::folded_twice, 1, 4, "rank 0, step -1, peer 1, chunk 0"}, [](script& plan) {
    change_steps(plan, [](step& now, int, int) {
      if (now.completes) now.sources.push(now.sources.items[0]);
    });
  });
}

TEST_CASE("wrong_completion: the last fold does not say that it completes") {
  refuses<direct>(
      {flaw::wrong_completion, 1, 4, "rank 0, step -1, peer -1, chunk 0"},
      [](script& plan) { change_steps(plan, [](step& now, int, int) { now.complete(false); }); });
}

TEST_CASE("wrong_completion: every fold says that it completes") {
  refuses<ring>({flaw::wrong_completion, 3, 4, "rank 0, step -1, peer -1, chunk 0"},
                [](script& plan) {
                  change_steps(plan, [](step& now, int, int) {
                    if (now.sources.count == 2) now.complete();
                  });
                });
}

TEST_CASE("not_synchronizing: a barrier without its last round") {
  refuses<dissemination::barrier>(
      {flaw::not_synchronizing, 2, 4, "rank 0, step 1, peer 1, chunk -1"}, [](script& plan) {
        if (!plan.lags.empty()) plan.lags.pop_back();
      });
}

TEST_CASE("not_synchronizing: a barrier that waits for all ranks but one") {
  refuses<direct::barrier>({flaw::not_synchronizing, 2, 4, "rank 0, step 0, peer 3, chunk -1"},
                           [](script& plan) {
                             if (plan.size == 1) return;
                             for (waits& each : plan.exits) --each.items[0].who.count;
                           });
}

TEST_CASE("outside_memory: an input is written") {
  refuses<direct>(
      {flaw::outside_memory, 1, 4, "rank 0, step 0, peer 0, chunk 0"}, [](script& plan) {
        change_steps(plan, [](step& now, int rank, int) { now.to(only(rank), buffer::input); });
      });
}

TEST_CASE("outside_memory: a slot is written") {
  refuses<one_shot>(
      {flaw::outside_memory, 1, 4, "rank 0, step 0, peer 0, chunk 0"}, [](script& plan) {
        change_steps(plan, [](step& now, int rank, int) { now.to(only(rank), buffer::slot); });
      });
}

TEST_CASE("outside_memory: an all-reduce through slots does something else besides") {
  refuses<one_shot>({flaw::outside_memory, 3, 4, "rank 2, step 0, peer 1, chunk 0"},
                    [](script& plan) {
                      change_steps(plan, [](step& now, int rank, int) {
                        if (rank == 2) now.to(only(1), buffer::output);
                      });
                    });
  refuses<one_shot>({flaw::outside_memory, 3, 4, "rank 2, step 0, peer 1, chunk 0"},
                    [](script& plan) {
                      change_steps(plan, [](step& now, int rank, int) {
                        if (rank == 2) now.from(only(1), buffer::input);
                      });
                    });
}

TEST_CASE("outside_memory: there is less scratch memory than is used") {
  refuses<ring::reduce_scatter>({flaw::outside_memory, 4, 4, "rank 1, step 1, peer 1, chunk 1"},
                                [](script& plan) {
                                  if (plan.scratch_chunks > 0) --plan.scratch_chunks;
                                });
  refuses<ring::reduce>({flaw::outside_memory, 3, 4, "rank 2, step 0, peer 2, chunk 0"},
                        [](script& plan) { plan.scratch_chunks = 0; });
}

TEST_CASE("outside_memory: only the root has an output") {
  refuses<ring::reduce>({flaw::outside_memory, 3, 4, "rank 2, step 0, peer 2, chunk 0"},
                        [](script& plan) {
                          change_steps(plan, [](step& now, int, int) {
                            for (int i = 0; i < now.sources.count; ++i)
                              if (now.sources.items[i].where == buffer::scratch)
                                now.sources.items[i].where = buffer::output;
                            now.targets.items[0].where = buffer::output;
                          });
                        });
  refuses<direct::gather>(
      {flaw::outside_memory, 2, 4, "rank 0, step 0, peer 1, chunk 0"}, [](script& plan) {
        change_steps(plan,
                     [&](step& now, int, int) { now.targets.items[0].who = every(plan.size); });
      });
}

TEST_CASE("outside_memory: the output has the own chunk only") {
  refuses<ring::reduce_scatter>(
      {flaw::outside_memory, 3, 4, "rank 0, step 0, peer 0, chunk 2"}, [](script& plan) {
        change_steps(plan, [](step& now, int, int) {
          for (int i = 0; i < now.sources.count; ++i)
            if (now.sources.items[i].where == buffer::scratch)
              now.sources.items[i] = {buffer::output, now.sources.items[i].who, now.chunk};
          now.targets.items[0].where = buffer::output;
          now.targets.items[0].chunk = now.chunk;
        });
      });
}

TEST_CASE("outside_memory: there is no such chunk") {
  refuses<direct>(
      {flaw::outside_memory, 1, 4, "rank 0, step 0, peer 0, chunk 4"}, [](script& plan) {
        change_steps(
            plan, [&](step& now, int rank, int) { now.to(only(rank), buffer::output, plan.size); });
      });
  refuses<direct>(
      {flaw::outside_memory, 1, 4, "rank 0, step 0, peer 0, chunk -1"}, [](script& plan) {
        change_steps(plan, [](step& now, int, int) { now.sources.items[0].chunk = -1; });
      });
  refuses<one_shot>(
      {flaw::outside_memory, 1, 4, "rank 0, step 0, peer 0, chunk 0"},
      [](script& plan) { change_steps(plan, [](step& now, int, int) { now.width = 2; }); });
}

TEST_CASE("outside_memory: there is no such rank") {
  refuses<direct>(
      {flaw::outside_memory, 1, 4, "rank 0, step 0, peer -1, chunk 0"}, [](script& plan) {
        change_steps(plan, [](step& now, int, int) { now.targets.items[0].who.first = -1; });
      });
}

TEST_CASE("read_too_early: an average divides what another has copied already") {
  // Rank 0 folds, says so in a second step on what it has folded, and the others copy.
  const auto verdict_if_copied_after = [](int index) {
    script plan = script_of(primary<0>{}, 3);
    plan.lags.push_back(0);
    for (int rank = 0; rank < 3; ++rank) {
      std::vector<step>& steps = plan.steps[static_cast<std::size_t>(rank)];
      const step finish =
          step{}.from(only(0), buffer::output).to(only(0), buffer::output).complete();
      const step copy =
          step{}.from(only(0), buffer::output).to(only(rank), buffer::output).after(only(0), index);
      if (rank == 0) steps[0].complete(false).targets.items[0].who = only(0);
      steps.push_back(rank == 0 ? finish : copy);
    }
    plan.exits[0].push({every_other(0, 3), 1});
    return verdict(prove(plan));
  };
  CHECK(verdict_if_copied_after(1) == "sound");
  CHECK(verdict_if_copied_after(0) ==
        "reads what may not be written yet: rank 1, step 1, peer 0, chunk 0");
}

TEST_CASE("read_too_early: a step that lags is not taken before a later one that does not") {
  // The root copies in step 0; step 1, without work, comes before it if step 0 lags.
  const auto verdict_if_lagging = [](int lag) {
    script plan = script_of(ring::broadcast{}, 2);
    plan.lags = {lag, 0};
    for (std::vector<step>& steps : plan.steps) steps.emplace_back();
    plan.steps[1][0].waits.items[0].step = 1;
    return verdict(prove(plan));
  };
  CHECK(verdict_if_lagging(0) == "sound");
  CHECK(verdict_if_lagging(1) ==
        "reads what may not be written yet: rank 1, step 0, peer 0, chunk 0");
}
