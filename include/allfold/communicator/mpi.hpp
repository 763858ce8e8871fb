// Ranks that are MPI's, and leave their collectives to it. Needs MPI 3.0 or newer.
#pragma once

#include <mpi.h>

#include <allfold/communicator/engine.hpp>
#include <allfold/communicator/failure.hpp>
#include <allfold/communicator/host_communicator.hpp>
#include <allfold/communicator/mpi_calls.hpp>
#include <allfold/communicator/mpi_connection.hpp>
#include <allfold/communicator/mpi_environment.hpp>
#include <allfold/communicator/mpi_operations.hpp>
#include <allfold/schedule/native.hpp>
#include <concepts>
#include <exception>

namespace allfold::mpi {

/// A rank's communicator over MPI. Elements lie in host memory; used by one thread at a time, which
/// may call MPI by the level that MPI was begun with; movable. Only `native` and `automatic`
/// algorithms.
///
/// Sums and products of numbers, and extremes of integers, are folded by MPI's own operations, in
/// MPI's order. Everything else is folded by the library's, called by MPI: in rank order if the
/// order matters, 16-bit numbers in float, rounded once for each two.
///
/// MPI is called non-blocking, and everything that it does is waited for with a time limit. What
/// goes wrong on one rank is told to all, and ends their waits, as on threads::communicator; but if
/// a rank has not come to a call, MPI may use the buffers of the others' calls even after they have
/// thrown. `options::compare_calls` finds out before MPI gets to know any.
///
/// Every rank destroys it, before MPI ends. It is left to MPI if it has failed.
class communicator {
 public:
  static constexpr memory_space space = memory_space::host;
  static constexpr bool has_engine = true;

  /// The ranks of `ranks`, which stays the caller's: messages here never meet the caller's there.
  /// Every rank calls it. Throws a usage_error if MPI is not there, or not for this thread, and a
  /// timeout_error if a rank does not come.
  explicit communicator(MPI_Comm ranks, mpi::options how = {},
                        std::source_location where = std::source_location::current())
      : communicator{connection{duplicate(ranks, how, where), how, where}} {}
  communicator(communicator&&) noexcept = default;
  communicator& operator=(communicator&&) = delete;
  /// An exception that makes the rank leave is told to the others.
  ~communicator() {
    if (link_.works() && std::uncaught_exceptions() > exceptions_)
      link_.give_up(host::failure_kind::lost, own_name() + " has left with an exception");
    if (!link_.works()) operations_.abandon();
  }

  int rank() const { return link_.rank(); }
  int size() const { return link_.size(); }
  /// The number of the collective that this rank calls next.
  std::uint64_t number() const { return link_.number(); }

  /// Fails the communicator: every other rank gets a usage_error with this text from the collective
  /// that it is in or the next one that it enters. Any thread may call, also while the rank's own
  /// is in a collective: then this rank gets the error too.
  void abort(const std::string& why) {
    link_.give_up(host::failure_kind::misuse, own_name() + " gives up: " + why);
  }
  /// Fails the communicator because this rank leaves with an exception: the others hear its text.
  void leave_with(const std::exception_ptr& thrown) {
    link_.give_up(host::failure_kind::lost, own_name() + " threw" + host::text_of(thrown));
  }
  /// Fails the communicator by what was found on another one.
  void fail(const failure& found) {
    link_.give_up(found.kind.value_or(host::failure_kind::lost), found.text);
  }

  /// Every rank's `mine`, by rank. Every rank calls it. T is trivially copyable.
  template <class T>
  std::vector<T> gather(const T& mine,
                        std::source_location where = std::source_location::current()) {
    std::vector<T> all(static_cast<std::size_t>(size()));
    using plan = allfold::native::all_gather;
    const call said{.kind = &kind_of_call<plan, T, sum>, .count = 1, .where = where};
    native(engine_call<plan::kind, T>{&mine, all.data(), 1, {}, 0, false, said}, sum{});
    return all;
  }
  /// Returns when all ranks have called it, and all have said the same.
  void meet(std::source_location where = std::source_location::current()) {
    using plan = allfold::native::barrier;
    const call said{.kind = &kind_of_call<plan, char, sum>, .where = where};
    native(engine_call<plan::kind, char>{nullptr, nullptr, 0, {}, 0, false, said}, sum{});
  }

  /// Divides the ranks into teams: those that give the same color, ordered by key, then by rank.
  /// Every rank calls it. The new teams have this one's options; a failure of one is its own.
  template <std::integral Color>
  communicator split(Color color, int key = 0,
                     std::source_location where = std::source_location::current()) {
    const host::division mine = host::divide(*this, color, key, where);
    MPI_Comm made = MPI_COMM_NULL;
    link_.take(MPI_Comm_split(link_.get(), mine.members.front(), mine.rank, &made),
               "MPI_Comm_split");  // which can't be limited, but all ranks are there
    return communicator{connection{made, link_.settings(), where}};
  }

  /// True if a second thread may use MPI at the same time, on every rank: MPI_THREAD_MULTIPLE.
  bool has_companion() const { return link_.has_companion(); }
  /// True if any thread may use MPI, one at a time, on every rank: MPI_THREAD_SERIALIZED or more.
  bool is_for_any_thread() const { return link_.is_for_any_thread(); }
  /// Gives up a quarter later from now on than `options::timeout` says. For ranks that meet others
  /// in another way too, where it is seen better who is late.
  void wait_longer() { link_.wait_longer(); }
  /// The same ranks once more, for a second thread of each: calls on one do not wait for calls on
  /// the other. Every rank calls it. A failure of one is its own.
  communicator companion(std::source_location where = std::source_location::current()) {
    meet(where);
    const mpi::options& how = link_.settings();
    return communicator{connection{duplicate(link_.get(), how, where), how, where}};
  }

  /// Carries out a collective. Those of the library call it.
  template <collective What, class T, class Operation>
  void native(const engine_call<What, T>& it, const Operation& operation) {
    const line::turn own{link_};
    link_.enter(it.said);
    if constexpr (folds(What))
      fold(it, operation);
    else
      move(it);
    link_.leave();
  }

 private:
  explicit communicator(connection&& link) : link_{std::move(link)} { link_.agree(); }

  std::string own_name() const { return "rank " + std::to_string(rank()); }

  template <collective What, class T, class Operation>
  void fold(const engine_call<What, T>& it, const Operation& operation) {
    if constexpr (is_built_in<T, Operation>) {
      fold(it, {link_, built_in_type<T>(), built_in_operation<Operation>(), sizeof(T)});
    } else {
      own_operation& own = operations_.of<T, Operation>();
      own.begin(operation);
      fold(it, {link_, own.type(), own.handle(), sizeof(T)});
      if (const std::exception_ptr thrown = own.thrown()) {
        leave_with(thrown);
        link_.take_wish();
        std::rethrow_exception(thrown);
      }
    }
    if constexpr (requires(accumulator<T> total) { operation.finish(total, 1); }) {
      const bool has_result = What != collective::reduce || rank() == it.root;
      if (has_result) allfold::fold(&it.output, 1, &it.output, 1, it.count, operation, size());
    }
  }
  template <collective What, class T>
  void fold(const engine_call<What, T>& it, const folder& by) {
    const auto* const input = reinterpret_cast<const std::byte*>(it.input);
    auto* const output = reinterpret_cast<std::byte*>(it.output);
    if constexpr (What == collective::all_reduce)
      by.all_reduce(input, output, it.count);
    else if constexpr (What == collective::reduce)
      by.reduce(input, output, it.count, it.root);
    else
      by.reduce_scatter(input, output, it.count);
  }

  template <collective What, class T>
  void move(const engine_call<What, T>& it) {
    const auto* const input = reinterpret_cast<const std::byte*>(it.input);
    auto* const output = reinterpret_cast<std::byte*>(it.output);
    const mover by{link_, {it.counts, it.count, sizeof(T)}};
    if constexpr (What == collective::broadcast)
      by.broadcast(input, output, it.root);
    else if constexpr (What == collective::barrier)
      by.barrier();
    else if constexpr (What == collective::all_gather)
      by.all_gather(input, output);
    else if constexpr (What == collective::scatter)
      by.scatter(input, output, it.root);
    else if constexpr (What == collective::gather)
      by.gather(input, output, it.root);
    else
      by.exchange(input, output);
  }

  own_operations operations_;
  int exceptions_ = std::uncaught_exceptions();
  connection link_;  // last: it is gone first
};

}  // namespace allfold::mpi
