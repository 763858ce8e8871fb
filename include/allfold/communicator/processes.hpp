// Ranks that are processes of one machine, which reach each other's memory. Linux.
#pragma once

#include <allfold/communicator/cores.hpp>
#include <allfold/communicator/host_communicator.hpp>
#include <allfold/communicator/process_team.hpp>
#include <allfold/communicator/region_copies.hpp>
#include <allfold/communicator/region_meeting.hpp>
#include <allfold/communicator/shared_array.hpp>
#include <concepts>

namespace allfold::processes {

/// What ranks that are processes may be told. The same on every rank.
struct options {
  /// The longest wait for another rank within one collective, and for all to come together;
  /// afterwards a timeout_error.
  std::chrono::steady_clock::duration timeout = std::chrono::minutes{10};
  /// Bytes that one rank can allocate of the shared memory. They take none before they are used.
  std::size_t arena_bytes = std::size_t{16} << 30;
  processes::copying copying = copying::automatic;
  /// Where a report of all ranks is written when a team fails; see host::team_options.
  std::string report{};
};

/// A rank's communicator, the ranks being processes of one machine: made by `spawn_processes`, by
/// `split` and `companion`, or by processes that were started in another way and exchange a few
/// bytes to find each other. The same schedules and the same execution as threads::communicator,
/// and the same bits.
///
/// Operands in memory from `allocate` are used where they lie. Others are copied once, from process
/// to process, or through the shared memory where the system forbids that; see `copies_once`. Short
/// messages go through slots wherever they lie.
///
/// A rank whose process ends, whatever ended it, is noticed by whoever waits for it, without
/// waiting for the time limit; all others get a rank_lost_error that names it. Nothing of the
/// shared memory outlives the processes.
class communicator : public host::communicator<team> {
  using base = host::communicator<team>;

 public:
  /// Ranks that were started by others. `exchange(mine, size, all)` gives every rank all ranks'
  /// bytes, by rank. Every rank calls it, and returns when all have. Throws usage_error for a rank
  /// that can't be, or that is on another machine than rank 0 or in another namespace of processes;
  /// mismatch_error if `arena_bytes` or `copying` differ; rank_lost_error or timeout_error naming a
  /// rank that does not come; process_error where the system refuses.
  template <class Exchange>
  requires std::invocable<Exchange&, const void*, std::size_t, void*> communicator(
      int rank, int size, Exchange&& exchange, options how = {})
      : communicator{found(rank, size, exchange, how), rank, how} {}

  /// For `spawn_processes` and others who have made the team's memory themselves: `shared` is not
  /// connected yet.
  communicator(std::shared_ptr<team> shared, int rank, options how)
      : base{connected(std::move(shared), how), rank} {
    if (how.copying == copying::once && !copies_once())
      throw process_error{"allfold: rank " + std::to_string(rank) +
                          ": the system does not let ranks read each other's memory "
                          "(copying::once)"};
  }

  /// True if operands elsewhere than in memory from `allocate` are copied once, from process to
  /// process; false if they are copied into the shared memory and back.
  bool copies_once() const { return shared()->copies_once(); }

  /// `count` elements of shared memory, all bits zero, at the beginning of a cache line: as
  /// operands they are copied nowhere. Given back with the last copy of the shared_array. Any
  /// thread of the process may call. Throws usage_error if `arena_bytes` are not enough.
  template <class T>
  shared_array<T> allocate(std::size_t count) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64);
    return shared_array<T>{shared()->world(), count};
  }

  /// See host::communicator.
  template <class T, class Schedule, class Operation>
  void run(const Schedule& plan, const host::operands& memory, const partition& parts,
           const Operation& operation, const call& mine) {
    if (reads_slots<Schedule> || copies_once())
      base::run<T>(plan, memory, parts, operation, mine);
    else
      run_through_region<T>(plan, memory, parts, operation, mine);
  }

  /// Divides the ranks into teams: those that give the same color, ordered by key, then by rank.
  /// Every rank calls it. The new teams have this one's options and memory; a failure of one team
  /// is its own.
  template <std::integral Color = int>
  communicator split(Color color, int key = 0,
                     std::source_location where = std::source_location::current()) {
    const host::division mine = host::divide(*this, color, key, where);
    return team_of(mine, shared()->options(), where);
  }

  /// Goes on after a failure, with the ranks that are left; see host::communicator::shrunk. The new
  /// ranks have this one's memory and options.
  communicator shrink(host::shrink_options how = {},
                      std::source_location where = std::source_location::current()) {
    return communicator{base::shrunk(how, where)};
  }

  /// The same ranks once more, for a second thread of each: calls on one do not wait for calls on
  /// the other. Every rank calls it. A failure of one is its own.
  communicator companion(std::source_location where = std::source_location::current()) {
    host::division all{rank(), {}};
    for (int each = 0; each < size(); ++each) all.members.push_back(each);
    host::team_options options = shared()->options();
    options.crowded = options.crowded || shared()->crowds(2 * size());
    return counted(team_of(all, options, where));
  }

 private:
  explicit communicator(std::shared_ptr<team> made, int rank) : base{std::move(made), rank} {}
  explicit communicator(base&& made) : base{std::move(made)} {}

  /// The same with operands that other ranks can't reach: section by section if that gives the same
  /// bits, so that copies stay in the caches; else in one piece.
  template <class T, class Schedule, class Operation>
  void run_through_region(const Schedule& plan, const host::operands& memory,
                          const partition& parts, const Operation& operation, const call& mine) {
    constexpr std::size_t section = std::max<std::size_t>(section_bytes / sizeof(T), 1);
    const operand_counts all = operand_counts_of(Schedule::kind, rank(), root_of(plan), parts);
    const std::size_t whole = std::max(all.input, all.output);
    if (whole <= section || !has_sections(plan, size())) {
      run_copied<T>(plan, memory, parts, all, operation, mine);
      return;
    }
    for (std::size_t begin = 0; begin < whole; begin += section) {
      const std::size_t count = std::min(section, whole - begin);
      const operand_counts now{all.input == 0 ? 0 : count, all.output == 0 ? 0 : count};
      host::operands part = memory;
      if (memory.input != nullptr) part.input = static_cast<const T*>(memory.input) + begin;
      if (memory.output != nullptr) part.output = static_cast<T*>(memory.output) + begin;
      run_copied<T>(plan, part, parts.section(count), now, operation, mine);
    }
  }
  template <class T, class Schedule, class Operation>
  void run_copied(const Schedule& plan, const host::operands& memory, const partition& parts,
                  const operand_counts& counts, const Operation& operation, const call& mine) {
    if (!copies_) copies_ = std::make_unique<region_copies>(shared()->world());
    host::operands used;
    try {
      used = copies_->bring(memory, counts, sizeof(T));
    } catch (const error& thrown) {  // there is no room
      abort(describe(mine, number()) + ": " + thrown.what());
      throw;
    }
    base::run<T>(plan, used, parts, operation, mine);
    region_copies::bring_back(memory, used, counts, sizeof(T));
  }

  /// A new team of some of the ranks, whose first makes it.
  communicator team_of(const host::division& mine, host::team_options options,
                       std::source_location where) {
    const int leader = mine.members.front();
    const auto ranks = static_cast<int>(mine.members.size());
    std::byte* made = nullptr;
    if (leader == rank()) made = made_for(mine.members, where);
    const auto theirs = gather(shared()->shown(made), where);
    std::byte* const place = shared()->reached(theirs[static_cast<std::size_t>(leader)]);
    auto taken = std::make_shared<team>(shared()->world(), place, ranks, mine.rank, options);
    taken->follow(*shared());
    return communicator{std::move(taken), mine.rank};
  }
  /// The state of a new team of these ranks, in this one's shared memory.
  std::byte* made_for(const std::vector<int>& members, std::source_location where) {
    try {
      return shared()->made_for(members);
    } catch (const std::exception& thrown) {
      abort("a team of " + std::to_string(members.size()) + " ranks at " + place_of(where) + ": " +
            thrown.what());
      throw;
    }
  }
  static std::shared_ptr<team> connected(std::shared_ptr<team> shared, const options& how) {
    shared->connect(how.copying != copying::through_region);
    return shared;
  }
  template <class Exchange>
  static std::shared_ptr<team> found(int rank, int size, Exchange& exchange, const options& how);

  std::unique_ptr<region_copies> copies_;  ///< once they were needed
};

/// How ranks wait, among so many; they agree when they are connected. See team::crowds.
inline host::team_options team_options_of(const options& how, int size) {
  return {how.timeout, size > usable_cores(), how.report};
}
/// The bytes of all ranks' shared memory: the first team's, then as many for each rank.
inline std::size_t front_bytes(int size) {
  constexpr std::size_t large_page = std::size_t{2} << 20;
  return (team::bytes_for(size) + large_page - 1) / large_page * large_page;
}
/// The bytes of the region: that, and every rank's arena.
inline std::size_t region_bytes(int size, const options& how) {
  // Not a power of two: where the ranks' places had all lower bits of their addresses alike, folds
  // took two to three times as long on an AMD EPYC.
  constexpr std::size_t page = 4096, shift = 5 * page;
  return front_bytes(size) +
         static_cast<std::size_t>(size) * (how.arena_bytes / page * page + shift);
}

template <class Exchange>
std::shared_ptr<team> communicator::found(int rank, int size, Exchange& exchange,
                                          const options& how) {
  if (size < 1 || rank < 0 || rank >= size)
    throw usage_error{"allfold: there is no rank " + std::to_string(rank) + " among " +
                      std::to_string(size) + " ranks of a processes::communicator"};
  region_meeting<Exchange> meeting{rank, size, exchange};
  shared_region region =
      meeting.meet(region_bytes(size, how), how.arena_bytes, how.copying, [size](std::byte* place) {
        team_state{place, size}.make([](int) { return 0; });
      });
  std::byte* const place = region.data();
  auto world = std::make_shared<shared_world>(std::move(region), front_bytes(size), size, rank);
  auto made =
      std::make_shared<team>(std::move(world), place, size, rank, team_options_of(how, size));
  for (int peer = 0; peer < size; ++peer) made->expect(peer, meeting.process_of(peer));
  return made;
}

}  // namespace allfold::processes
