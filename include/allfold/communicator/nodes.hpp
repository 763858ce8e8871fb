// Ranks on several nodes: a communicator inside each node, and one across nodes.
#pragma once

#include <allfold/communicator/engine.hpp>
#include <allfold/communicator/host_communicator.hpp>
#include <allfold/communicator/level_memory.hpp>
#include <allfold/communicator/levels.hpp>
#include <allfold/communicator/piece_worker.hpp>
#include <allfold/schedule/hierarchical.hpp>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

namespace allfold::nodes {

/// A rank's communicator of two levels. `Inside` connects the ranks of this node, and carries out
/// schedules: threads::communicator or processes::communicator. `Across` connects the ranks that
/// have the same place, or **lane**, on each node: one of these too, or an engine such as MPI.
///
/// Rank = node · lanes() + lane, where the node is the rank in `Across` and the lane the rank in
/// `Inside`: node 0 has ranks 0 to lanes() − 1, and so on.
///
/// Used by its rank's thread. All collectives, by `hierarchical<…>`, by `automatic`, which lets the
/// levels choose, or by `direct` and `primary`, which give the bits that they give on one node:
/// include <allfold/collective/hierarchical.hpp>. The ranks of all nodes must call the same ones in
/// the same order. A failure on either level fails both, and every rank gets an error; `Across`
/// must allow its `abort` to be called by another thread than the one that is in a collective.
///
/// A rank that is late is named by those who wait for it themselves. Who waits for one of those, on
/// the other level, leaves it to them, for up to as long again as its time limit.
template <class Inside, class Across>
class communicator : public levels<Inside, Across> {
  using base = levels<Inside, Across>;
  using base::inside_, base::across_;
  static_assert(!has_engine<Inside>,
                "allfold: inside a node the library's own schedules work: by threads or processes");
  static_assert(Inside::space == memory_space::host && Across::space == memory_space::host,
                "allfold: both levels work in host memory");

 public:
  static constexpr memory_space space = memory_space::host;
  template <class Algorithm>
  using algorithm_for = typename detail::two_level_algorithm<Algorithm>::type;
  using base::lane, base::lanes, base::name, base::node, base::nodes, base::number, base::options;

  /// Every rank calls it with its place in both levels. Throws usage_error, on every rank, if not
  /// all nodes have as many ranks, or the ranks of a node are not the same node in all lanes, or an
  /// option is 0; mismatch_error if the options differ.
  communicator(Inside inside, Across across, nodes::options how = {},
               std::source_location where = std::source_location::current())
      : base{[&] { return std::move(inside); }, [&] { return std::move(across); }, how} {
    check_nodes(where);
  }
  communicator(communicator&&) noexcept = default;
  communicator& operator=(communicator&&) = delete;

  /// True if one piece of a message is folded inside the nodes while the one before it is on its
  /// way across; false where an engine may not be called by a second thread of every rank, as an
  /// MPI that was begun with less than MPI_THREAD_SERIALIZED: then one follows the other.
  bool pipelined() const { return pipelined_; }

  /// Fails both levels: every other rank gets an error with this text from the collective it is in
  /// or the next one it enters. Any thread may call.
  void abort(const std::string& why) {
    tell_all({host::failure_kind::misuse, name() + " gives up: " + why});
  }
  /// The same because this rank leaves with an exception.
  void leave_with(const std::exception_ptr& thrown) {
    tell_all({std::nullopt, name() + " threw" + host::text_of(thrown)});
  }

  /// False if a level can't have one here, as over an MPI that is for one thread only.
  bool has_companion() const {
    const auto has = [](const auto& level) {
      if constexpr (requires { level.has_companion(); })
        return level.has_companion();
      else
        return true;
    };
    return has(inside_) && has(across_);
  }
  /// The same ranks once more, for a second thread of each. Every rank calls it. A failure of one
  /// is its own.
  communicator companion(std::source_location where = std::source_location::current()) requires
      requires(Inside& in, Across& out) {
    in.companion(where);
    out.companion(where);
  }
  { return {inside_.companion(where), across_.companion(where), options(), where}; }

  /// Memory for operands that the ranks of a node reach without a copy.
  template <class T>
  auto allocate(std::size_t count) requires requires(Inside& in) {
    in.template allocate<T>(count);
  }
  { return inside_.template allocate<T>(count); }

  // ---- for the collectives; see collective/hierarchical.hpp ----

  /// Makes communicators of two for every pair of neighbours, unless that has been done. All ranks
  /// call it.
  void connect_neighbours(std::source_location where) {
    if (connected_) return;
    for (const int odd : {0, 1}) {
      Across pair = across_.split((node() + odd) / 2, node(), where);
      if (pair.size() != 2) continue;
      be_patient(pair);
      const std::lock_guard lock{failing_->mutex};
      Across& made = (pair.rank() == 0 ? after_ : before_).emplace(std::move(pair));
      if (failing_->told) fail(made, *failing_->told);
    }
    connected_ = true;
  }
  /// One of them: tier::before or tier::after. The lower node is rank 0.
  Across& neighbour(tier which) { return which == tier::before ? *before_ : *after_; }
  /// The thread that works across nodes while this rank's works inside.
  piece_worker& worker() {
    if (!worker_) worker_ = std::make_unique<piece_worker>(inside_.crowded());
    return *worker_;
  }
  /// Memory that all ranks of the node can reach; undefined, and good until the next call.
  std::byte* scratch(std::size_t bytes) { return memory_.of(inside_, bytes); }

  /// To be called where an exception of a level was caught, in the call `said`. Fails every level
  /// and throws the same, with the names of this rank and of the level; what is no error of the
  /// library's as it is.
  [[noreturn]] void fail_from(tier which, const call& said) {
    const failure found = base::caught_from(which);
    int none = 0;
    failing_->first.compare_exchange_strong(none, which == tier::inside ? 1 : 2);
    tell_all(found);
    base::rethrow(found, describe(said, number()));
  }
  /// True if the first error of this rank came from across.
  bool failed_across() const { return failing_->first.load() == 2; }
  /// Fails every level with what this rank has found, unless it has failed already. Any thread.
  void tell_all(const failure& found) {
    const std::lock_guard lock{failing_->mutex};
    for_each_level([&](tier, auto& level) { fail(level, found); });
    if (!failing_->told) failing_->told = found;
  }

  /// Shows the other levels that this rank is in a collective of one.
  void show(tier which, presence& there) {
    for_each_level([&](tier each, auto& level) {
      if (each != which) there.show_on(level);
    });
  }

 private:
  /// What any thread may use.
  struct failing {
    std::atomic<int> first{0};  ///< of this rank's errors: 1 from inside, 2 from across
    std::mutex mutex;           ///< for what follows, and for the making of neighbours
    std::optional<failure> told;
  };
  /// What a rank says of itself, for others to compare.
  struct card {
    place of;
    std::uint64_t pipelined, one_lane_bytes, piece_bytes;
  };

  void check_nodes(std::source_location where) {
    if (options().piece_bytes == 0) give_up<usage_error>("a piece can't have 0 bytes", where);
    card mine{base::own_place(), across_is_for_any_thread(), options().one_lane_bytes,
              options().piece_bytes};
    const std::vector<card> nodes_here = detail::gathered(across_, mine, where);
    for (std::size_t i = 0; i < nodes_here.size(); ++i) {
      if (nodes_here[i].of.lanes != mine.of.lanes)
        give_up<usage_error>(mine.of.unlike_node(nodes_here[i].of), where);
      check_options(mine, nodes_here[i], "node " + std::to_string(i), where);
      mine.pipelined &= nodes_here[i].pipelined;
    }
    const std::vector<card> lanes_here = detail::gathered(inside_, mine, where);
    for (std::size_t i = 0; i < lanes_here.size(); ++i) {
      const card& its = lanes_here[i];
      if (its.of.node != mine.of.node || its.of.nodes != mine.of.nodes)
        give_up<usage_error>(mine.of.unlike_lane(its.of), where);
      check_options(mine, its, "lane " + std::to_string(i), where);
      pipelined_ = pipelined_ && its.pipelined != 0;
    }
    be_patient(across_);
  }
  bool across_is_for_any_thread() const {
    if constexpr (requires { across_.is_for_any_thread(); })
      return across_.is_for_any_thread();
    else
      return true;
  }
  /// An engine that can't see where ranks are lets those speak first who wait for them inside.
  void be_patient(Across& engine) const {
    if constexpr (requires { engine.wait_longer(); })
      if (lanes() > 1) engine.wait_longer();
  }
  template <class Work>
  void for_each_level(Work work) {
    work(tier::inside, inside_);
    work(tier::across, across_);
    if (before_) work(tier::before, *before_);
    if (after_) work(tier::after, *after_);
  }
  void check_options(const card& mine, const card& its, const std::string& whose,
                     std::source_location where) {
    const auto check = [&](std::uint64_t own, std::uint64_t other, const char* option) {
      if (own != other)
        give_up<mismatch_error>(option + std::string{" is "} + std::to_string(own) + ", and " +
                                    std::to_string(other) + " in " + whose,
                                where);
    };
    check(mine.one_lane_bytes, its.one_lane_bytes, "options::one_lane_bytes");
    check(mine.piece_bytes, its.piece_bytes, "options::piece_bytes");
  }
  /// Throws, and fails both levels.
  template <class Error>
  [[noreturn]] void give_up(const std::string& why, std::source_location where) {
    const std::string text =
        "nodes::communicator at " + place_of(where) + ": " + name() + ": " + why;
    tell_all(failure_of(std::make_exception_ptr(Error{text})));
    throw Error{"allfold: " + text};
  }

  bool pipelined_ = true;
  std::unique_ptr<failing> failing_ = std::make_unique<failing>();
  level_memory<Inside> memory_;
  bool connected_ = false;
  std::optional<Across> before_, after_;
  std::unique_ptr<piece_worker> worker_;  // last: its thread uses the others
};

}  // namespace allfold::nodes
