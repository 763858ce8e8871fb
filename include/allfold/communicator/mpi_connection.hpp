// A communicator of MPI whose ranks compare what they call.
#pragma once

#include <mpi.h>

#include <allfold/communicator/mpi_line.hpp>
#include <allfold/hash.hpp>

namespace allfold::mpi {

/// A line on which collectives are called: each is entered and left.
class connection : public line {
 public:
  using line::line;

  /// Throws a mismatch_error on every rank if they differ in options that must be alike, and finds
  /// out what all of them can do. Every rank calls it first.
  void agree() {
    int level = 0;
    check(MPI_Query_thread(&level), "MPI_Query_thread");
    std::uint64_t(&most)[6] = flight().most;  // the largest of ~x is the smallest of x
    most[0] = settings().compare_calls ? 1 : 0;
    most[1] = settings().largest_count;
    for (int i : {0, 1}) most[2 + i] = ~most[i];
    most[4] = static_cast<std::uint64_t>(MPI_THREAD_MULTIPLE - level);
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    most[5] = mixed(reinterpret_cast<std::uintptr_t>(&flight()), static_cast<std::uint64_t>(now));
    spread(6, "MPI_Iallreduce, to compare options");
    level_ = MPI_THREAD_MULTIPLE - static_cast<int>(most[4]);
    flight().notes.belong_to(most[5]);
    if (most[0] == ~most[2] && most[1] == ~most[3]) return;
    fail(host::failure_kind::mismatch, "the ranks have different options", false);
    throw_failure();
  }

  /// True if on every rank several threads may call MPI at once.
  bool has_companion() const { return level_ == MPI_THREAD_MULTIPLE; }
  /// True if on every rank any thread may call MPI, one at a time.
  bool is_for_any_thread() const { return level_ >= MPI_THREAD_SERIALIZED; }
  /// True if ranks hear from each other before each collective.
  bool compares() const { return settings().compare_calls && size() > 1; }
  /// Notes the collective that errors are to name, and has the ranks compare it.
  void enter(const call& said) {
    last_ = said;
    int ended = 0;
    MPI_Finalized(&ended);
    if (ended != 0) refuse("MPI has ended");
    if (!may_call_mpi()) refuse(only_the_main_thread);
    listen();
    if (compares()) compare(said);
  }
  void leave() { ++number_; }

 private:
  [[noreturn]] void refuse(const char* why) const {
    throw usage_error{"allfold: " + name_of(rank()) + ", " + describe_last() + ": " + why};
  }
  /// The largest on any rank of each of the numbers in `most`.
  void spread(int count, const char* what) {
    const auto begin = [&](MPI_Request* open) {
      return MPI_Iallreduce(MPI_IN_PLACE, flight().most, count, MPI_UINT64_T, MPI_MAX, get(), open);
    };
    run_on_own(begin, what);
  }
  /// Throws a mismatch_error on every rank unless all call the same.
  void compare(const call& said) {
    const std::uint64_t mine = mixed(said.fingerprint(), number_);
    flight().most[0] = mine;
    flight().most[1] = ~mine;
    spread(2, "MPI_Iallreduce, to compare calls");
    if (flight().most[0] != ~flight().most[1]) disagree(mine);
  }
  [[noreturn]] void disagree(std::uint64_t fingerprint) {
    std::vector<in_flight::said_call>& all = flight().said;
    all.assign(static_cast<std::size_t>(size()), {});
    in_flight::said_call& mine = all[static_cast<std::size_t>(rank())];
    const std::string words = describe_last();
    mine.fingerprint = fingerprint;
    std::memcpy(mine.words, words.data(), std::min(words.size(), sizeof mine.words - 1));
    const auto begin = [&](MPI_Request* open) {
      return MPI_Iallgather(MPI_IN_PLACE, 0, MPI_BYTE, all.data(), sizeof mine, MPI_BYTE, get(),
                            open);
    };
    run_on_own(begin, "MPI_Iallgather, to tell what was called");
    fail(host::failure_kind::mismatch, disagreement(all), false);
    throw_failure();
  }
  /// Who calls what: rank 0, and those that call something else.
  static std::string disagreement(const std::vector<in_flight::said_call>& all) {
    std::string text = "the ranks call different collectives";
    int alike = 0, listed = 0;
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
      if (rank > 0 && all[rank].fingerprint == all[0].fingerprint)
        ++alike;
      else if (++listed <= 16)
        text += "\n  rank " + std::to_string(rank) + " calls " + all[rank].words;
    }
    if (listed > 16) text += "\n  " + std::to_string(listed - 16) + " more call something else";
    if (alike > 0) text += "\n  " + std::to_string(alike) + " more call what rank 0 calls";
    return text;
  }

  int level_ = MPI_THREAD_SINGLE;  ///< the lowest of all ranks
};

}  // namespace allfold::mpi
