// What is proven succeeds in whatever order the ranks run; what is refuted goes wrong in some.
#include "rehearsal.hpp"

#include "schedules.hpp"
#include "script.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace allfold;

struct named {
  std::string name;
  script plan;
};

template <class... Schedules>
std::vector<named> written_out(int size, const Schedules&... plans) {
  return {{title<Schedules>(size), script_of(plans, size)}...};
}

std::vector<named> all_schedules(int size) {
  const int root = size - 1;
  return written_out(
      size, one_shot{}, direct{}, ring{}, tree{}, halving_doubling{}, primary<0>{},
      direct::reduce{}, direct::reduce{root}, ring::reduce{}, ring::reduce{root}, tree::reduce{},
      tree::reduce{root}, direct::reduce_scatter{}, ring::reduce_scatter{}, direct::broadcast{},
      direct::broadcast{root}, ring::broadcast{root}, tree::broadcast{root}, direct::all_gather{},
      ring::all_gather{}, direct::scatter{root}, direct::gather{root}, direct::all_to_all{},
      direct::all_to_all{.in_place = true}, direct::barrier{}, dissemination::barrier{},
      one_shot::reduce{root}, one_shot::broadcast{root}, one_shot::reduce_scatter{},
      one_shot::all_gather{}, one_shot::scatter{root}, one_shot::gather{root},
      one_shot::all_to_all{}, one_shot::all_to_all{.in_place = true});
}

/// True if none of `runs` runs goes wrong, neither out of place nor in place.
bool always_succeeds(const script& plan, int pieces, std::uint64_t runs) {
  for (const bool in_place : {false, true}) {
    if (plan.kind == collective::all_to_all && plan.in_place != in_place) continue;
    rehearsal ranks{plan, pieces, in_place};
    for (std::uint64_t run = 0; run < runs; ++run)
      if (!ranks.succeeds(run)) return false;
  }
  return true;
}

/// Expects that a script always succeeds if it was found sound, and can go wrong if not.
void expect_agreement(const proof& found, const script& plan, int pieces, const std::string& what) {
  const bool succeeds = always_succeeds(plan, pieces, found.sound() ? 60 : 2000);
  if (found.sound() == succeeds) return;
  FAIL_CHECK(what, ": the proof says ", verdict(found), ", and it ",
             std::string{succeeds ? "always succeeds" : "goes wrong"});
}

/// Calls `use` with every script that differs from a given one in one place.
class mutations {
 public:
  using user = std::function<void(const script&, const std::string&)>;

  mutations(const script& original, user use) : it_{original}, use_{std::move(use)} {
    for (int rank = 0; rank < it_.size; ++rank) change_rank(rank);
  }

 private:
  void change_rank(int rank) {
    std::vector<step>& steps = it_.steps[static_cast<std::size_t>(rank)];
    for (std::size_t i = 0; i < steps.size(); ++i) {
      where_ = "rank " + std::to_string(rank) + ", step " + std::to_string(i);
      change_step(steps[i]);
      if (i == 0) continue;
      std::swap(steps[i - 1], steps[i]);
      use_(it_, where_ + ": before the step before it");
      std::swap(steps[i - 1], steps[i]);
    }
    where_ = "rank " + std::to_string(rank) + ", exit";
    change_waits(it_.exits[static_cast<std::size_t>(rank)]);
  }
  void change_step(step& now) {
    change_waits(now.waits);
    if (now.sources.count > 1) leave_out(now.sources, "a source");
    leave_out(now.targets, "a target");
    for (int i = 0; i < now.sources.count; ++i)
      change_operand(now.sources.items[i], now.width, "a source");
    for (int i = 0; i < now.targets.count; ++i)
      change_operand(now.targets.items[i], now.width, "a target");
    if (folds(it_.kind)) replace(now.completes, !now.completes, "the completion");
  }
  void change_waits(waits& list) {
    leave_out(list, "a wait");
    for (int i = 0; i < list.count; ++i) {
      change_ranks(list.items[i].who, "a wait");
      replace(list.items[i].step, list.items[i].step - 1, "the step of a wait");
      replace(list.items[i].step, list.items[i].step + 1, "the step of a wait");
    }
  }
  void change_ranks(ranks& who, const std::string& whose) {
    replace(who.first, (who.first + 1) % it_.size, "the ranks of " + whose);
    if (who.count > 1) replace(who.count, who.count - 1, "the number of ranks of " + whose);
  }
  void change_operand(operand& it, int width, const std::string& name) {
    change_ranks(it.who, name);
    const int chunks = it.where == buffer::scratch ? it_.scratch_chunks : it_.chunks;
    if (chunks > width)
      replace(it.chunk, (it.chunk + 1) % (chunks - width + 1), "the chunk of " + name);
    if (name == "a target") return;
    if (it.where == buffer::input) replace(it.where, buffer::output, "the buffer of " + name);
    if (it.where == buffer::output) replace(it.where, buffer::input, "the buffer of " + name);
  }
  template <class T>
  void replace(T& place, T other, const std::string& name) {
    const T before = std::exchange(place, other);
    use_(it_, where_ + ": " + name + " is changed");
    place = before;
  }
  template <class T, int N>
  void leave_out(few<T, N>& list, const std::string& name) {
    const few<T, N> before = list;
    for (int i = 0; i < before.count; ++i) {
      list = {};
      for (int k = 0; k < before.count; ++k)
        if (k != i) list.push(before.items[k]);
      use_(it_, where_ + ": " + name + " is left out");
    }
    list = before;
  }

  script it_;
  user use_;
  std::string where_;
};

}  // namespace

TEST_CASE("what is proven succeeds in every order") {
  for (const int size : {1, 2, 3, 4, 5, 6, 8})
    for (const named& each : all_schedules(size))
      for (const int pieces : {1, 3}) {
        INFO(each.name, ", ", pieces, " pieces");
        CHECK(verdict(prove(each.plan, pieces)) == "sound");
        CHECK(always_succeeds(each.plan, pieces, 40));
      }
}

TEST_CASE("one change is refuted if and only if it can go wrong") {
  int sound = 0, refuted = 0;
  for (const int size : {2, 3, 4, 5})
    for (const named& each : all_schedules(size)) {
      INFO(each.name);
      mutations{each.plan, [&](const script& changed, const std::string& what) {
                  const proof found = prove(changed);
                  expect_agreement(found, changed, 1, what);
                  ++(found.sound() ? sound : refuted);
                }};
    }
  CHECK(sound > 500);
  CHECK(refuted > 5000);
}

TEST_CASE("one change is refuted if and only if it can go wrong, in pieces") {
  for (const int size : {2, 3, 4})
    for (const named& each : written_out(size, tree{}, tree::reduce{}, ring::broadcast{}, ring{})) {
      INFO(each.name);
      mutations{each.plan, [&](const script& changed, const std::string& what) {
                  if (prove(changed).sound())  // else nothing is promised of its fold order
                    expect_agreement(prove(changed, 2), changed, 2, what);
                }};
    }
}
