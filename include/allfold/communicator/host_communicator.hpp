// A rank's communicator on the host, whatever its ranks are.
#pragma once

#include <algorithm>
#include <allfold/communicator/concepts.hpp>
#include <allfold/communicator/membership.hpp>
#include <allfold/communicator/report.hpp>
#include <allfold/communicator/shrink.hpp>
#include <allfold/execution/host.hpp>
#include <allfold/schedule/direct.hpp>
#include <exception>

namespace allfold::host {

/// ": what()" of an exception, if it has such a text.
inline std::string text_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& it) {
    return std::string{": "} + it.what();
  } catch (...) {
    return {};
  }
}

/// Throws the library's error that is being handled again, with more text; other exceptions as they
/// are. To be called where something was caught.
[[noreturn]] inline void rethrow_with(const std::string& more) {
  try {
    throw;
  } catch (const mismatch_error& it) {
    throw mismatch_error{it.what() + more};
  } catch (const timeout_error& it) {
    throw timeout_error{it.what() + more};
  } catch (const rank_lost_error& it) {
    throw rank_lost_error{it.what() + more};
  } catch (const usage_error& it) {
    throw usage_error{it.what() + more};
  }
}

/// What threads::communicator and processes::communicator have in common. `Team` is what the ranks
/// share. Used by its rank's thread; movable. All ranks must call the same collectives in the same
/// order. A failure on any rank fails the team: every rank gets an error, from the collective it is
/// in or the next one it enters. When it is destroyed the rank has left, and ranks that wait for it
/// get a rank_lost_error.
template <class Team>
class communicator {
 public:
  static constexpr memory_space space = memory_space::host;

  communicator(std::shared_ptr<Team> shared, int rank)
      : member_{std::make_unique<membership<Team>>(std::move(shared), rank)} {}

  int rank() const { return member_->rank(); }
  int size() const { return member_->size(); }
  /// True if there are more ranks than cores, as the team's options say.
  bool crowded() const { return member_->shared()->options().crowded; }

  /// The number of the collective that this rank calls next.
  std::uint64_t number() const { return member_->number(); }

  /// What this rank has moved since it joined, here and over the companions of this communicator,
  /// such as that by which a replica's thread reduces gradients; not over those that `split` has
  /// made. Any thread may call.
  host::traffic traffic() const { return member_->moved_so_far(); }

  /// Fails the whole team: every other rank gets a usage_error with this text from the collective
  /// it is in or the next one it enters. For errors that one rank finds and the others must know
  /// of. Any thread may call, also while the rank's own is in a collective: then this rank gets the
  /// error too.
  void abort(const std::string& why) {
    shared()->fail(failure_kind::misuse, rank(),
                   "rank " + std::to_string(rank()) + " gives up: " + why);
  }
  /// Fails the team because this rank leaves with an exception: the others hear its text. A
  /// communicator that was moved from is no rank any more, and says nothing.
  void leave_with(const std::exception_ptr& thrown) {
    if (member_) fail_with(thrown, nullptr);
  }

  /// What all ranks do and have done, in words: for each its process, how many collectives it has
  /// completed, which it is in and for whom it waits, and its last `calls` calls, `remembered` at
  /// most. Any thread may call, whatever the ranks are doing. It waits for no rank, but up to half
  /// a second for each whose process has just ended, until the process's parent has said how.
  std::string report(std::uint64_t calls = remembered) const { return report_of(*shared(), calls); }

  /// Carries out a schedule with the other ranks. The collectives call it; so may a user who brings
  /// a schedule of another kind. T is the element type, `memory` this rank's buffers.
  template <class T, class Schedule, class Operation>
  void run(const Schedule& plan, const operands& memory, const partition& parts,
           const Operation& operation, const call& mine) {
    try {
      member_->enter(mine, memory);
      member_->leave(run_on_host<T>(*member_, plan, parts, operation));
    } catch (...) {
      // Unless the team has failed already, this came out of the user's operation or schedule, or
      // there is no memory.
      fail_with(std::current_exception(), &mine);
      give_way();
    }
  }

  /// Every rank's `mine`, by rank. Every rank calls it. T is trivially copyable.
  template <class T>
  std::vector<T> gather(const T& mine,
                        std::source_location where = std::source_location::current()) {
    std::vector<T> all(static_cast<std::size_t>(size()));
    const call said{.kind = &kind_of_call<direct::all_gather, T, sum>, .count = 1, .where = where};
    run<T>(direct::all_gather{}, {&mine, all.data()}, partition{all.size(), size(), 1, 1}, sum{},
           said);
    return all;
  }
  /// Returns when all ranks have called it, and all have said the same; else throws as the
  /// collective would that they speak of.
  void meet(const call& said) {
    run<char>(direct::barrier{}, {}, partition{0, 1, 1, 1}, sum{}, said);
  }
  void meet(std::source_location where = std::source_location::current()) {
    meet({.kind = &kind_of_call<direct::barrier, char, sum>, .where = where});
  }

  /// The largest message in bytes that may be sent through slots, and in which collectives.
  static constexpr std::size_t small_bytes = slot_bytes;
  /// The largest that is: what a rank gives. A slot saves a wait and costs a copy, and the way of
  /// one more cache line for each 64 bytes. With more ranks than cores a wait is a turn of the
  /// scheduler, and any slot is worth it.
  std::size_t small_bytes_of(collective what) const {
    if (crowded()) return slot_bytes;
    if (what == collective::all_reduce || what == collective::reduce) return 1024;
    return what == collective::all_gather || what == collective::gather ? 512 : 256;
  }
  static constexpr bool has_slots_for(collective) { return true; }

  const std::shared_ptr<Team>& shared() const { return member_->shared(); }

 protected:
  /// A companion of this one, whose traffic is this one's too from now on.
  template <class Companion>
  Companion counted(Companion made) const {
    const communicator& its = made;
    its.member_->count_for(*member_);
    return made;
  }

  /// What `shrink` does, which gives the communicator its own type: a communicator of the ranks
  /// that are left, in their old order. All of them call it, also those that have heard of no
  /// failure: the team has failed at the latest when the first of them calls. This communicator is
  /// of no use afterwards, and may be replaced by the new one.
  ///
  /// Left is who calls it. Out is a rank that has left or whose process has ended, and one that
  /// lives but does not come within `how.timeout`. If nobody is out, the same ranks go on. All
  /// agree, also if some end meanwhile; who ends before the new team has come together is out as
  /// well. Afterwards no rank that is out uses the memory of one that is left.
  ///
  /// Throws rank_lost_error, "excluded by …", if this rank is out itself since it came too late;
  /// usage_error if this communicator was shrunk before, or if there is no memory for a new team.
  communicator shrunk(const shrink_options& how, std::source_location where) const {
    return communicator{lasting_successor_of(*member_, how, where)};
  }

 private:
  explicit communicator(std::unique_ptr<membership<Team>> member) : member_{std::move(member)} {}

  /// Fails the team because of an exception, from the collective `mine` if there is one. If there
  /// is no memory for what there is to be said, what was kept for that is given back first.
  void fail_with(const std::exception_ptr& thrown, const call* mine) {
    if (shared()->failed()) return;
    std::string text = "rank " + std::to_string(rank()) + " threw";
    for (;;) try {
        text = what_was_thrown(thrown, mine);
        break;
      } catch (const std::bad_alloc&) {
        if (!spare_) break;
        spare_.reset();
      }
    shared()->fail(failure_kind::lost, rank(), std::move(text));
  }
  std::string what_was_thrown(const std::exception_ptr& thrown, const call* mine) const {
    const std::string who = "rank " + std::to_string(rank()) + " threw";
    if (mine != nullptr) return who + " in " + describe(*mine, member_->number()) + text_of(thrown);
    return who + text_of(thrown) + "; it has completed " + done_by(*shared(), rank());
  }
  /// Rethrows what is being handled, once no other rank uses this one's memory.
  [[noreturn]] void give_way() {
    const int disturber = member_->abandon();
    if constexpr (Team::dies_alone)
      if (disturber >= 0) {
        shared()->keep_memory();
        rethrow_with("; " + named(*shared(), disturber) +
                     " may still write to the buffers of this call if it goes on");
      }
    throw;
  }

  std::unique_ptr<membership<Team>> member_;
  std::unique_ptr<char[]> spare_ = std::make_unique<char[]>(4096);  ///< for words of a failure
};

/// Who is with whom after ranks were divided: the ranks that give the same color, ordered by key,
/// then by rank.
struct division {
  int rank = 0;              ///< this rank's number among them
  std::vector<int> members;  ///< their ranks before, by their new ones
};

/// With whom a rank wants to be.
template <class Color>
struct wish {
  Color color;
  int key, rank;
};

/// Divides the ranks of a communicator. Every rank calls it.
template <class World, class Color>
division divide(World& world, Color color, int key, std::source_location where) {
  std::vector<wish<Color>> all = world.gather(wish<Color>{color, key, world.rank()}, where);
  std::erase_if(all, [&](const wish<Color>& each) { return each.color != color; });
  std::sort(all.begin(), all.end(), [](const wish<Color>& a, const wish<Color>& b) {
    return a.key != b.key ? a.key < b.key : a.rank < b.rank;
  });
  division made;
  for (const wish<Color>& each : all) {
    if (each.rank == world.rank()) made.rank = static_cast<int>(made.members.size());
    made.members.push_back(each.rank);
  }
  return made;
}

}  // namespace allfold::host
