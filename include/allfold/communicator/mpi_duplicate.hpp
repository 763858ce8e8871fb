// What a communicator over MPI is told, and how it gets one of MPI's to itself.
#pragma once

#include <mpi.h>

#include <allfold/communicator/mpi_types.hpp>
#include <allfold/communicator/patience.hpp>
#include <atomic>
#include <climits>
#include <memory>

namespace allfold::mpi {

/// What a communicator may be told when it is made. `compare_calls` and `largest_count` are the
/// same on every rank.
struct options {
  /// The longest wait for MPI, in any one of its calls.
  std::chrono::steady_clock::duration timeout = std::chrono::minutes{10};
  /// Whether ranks compare what they call before each collective, by a small all-reduce. If not,
  /// ranks that disagree are MPI's affair: wrong results, an error of MPI, or the time limit.
  bool compare_calls = true;
  /// The most elements of a fold, or else bytes, that one call of MPI gets. What is longer goes in
  /// several.
  std::size_t largest_count = INT_MAX;
};

/// A time in words: "250 ms".
inline std::string in_milliseconds(patience::clock::duration time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) +
         " ms";
}

/// True once a rank has not come within a time limit: MPI_Finalize might wait for it forever.
inline std::atomic<bool>& somebody_is_missing() {
  static std::atomic<bool> of_process{false};
  return of_process;
}

/// False for other threads than MPI's main one, if MPI was begun for that one alone; and for all
/// when MPI has ended.
inline bool may_call_mpi() {
  int ended = 0, level = 0, is_main = 0;
  MPI_Finalized(&ended);
  if (ended != 0) return false;
  MPI_Query_thread(&level);
  if (level > MPI_THREAD_FUNNELED) return true;
  MPI_Is_thread_main(&is_main);
  return is_main != 0;
}
/// What a thread is told that may not.
inline constexpr const char* only_the_main_thread =
    "only MPI's main thread may call MPI here; begin it with MPI_THREAD_SERIALIZED or more";

/// A new communicator of MPI for the ranks of another one. Every rank calls it.
inline MPI_Comm duplicate(MPI_Comm ranks, const options& how, std::source_location where) {
  const auto refuse = [&](const char* why) {
    throw usage_error{"allfold: mpi::communicator at " + place_of(where) + ": " + why};
  };
  int begun = 0, ended = 0, within = 0;
  MPI_Initialized(&begun);
  if (begun == 0) refuse("MPI has not begun; call MPI_Init or make an mpi::environment first");
  MPI_Finalized(&ended);
  if (ended != 0) refuse("MPI has ended");
  if (ranks == MPI_COMM_NULL) refuse("this rank is in no communicator: MPI_COMM_NULL");
  MPI_Comm_test_inter(ranks, &within);
  if (within != 0) refuse("an intercommunicator's ranks are two groups");
  if (!may_call_mpi()) refuse(only_the_main_thread);
  if (how.largest_count < 1 || how.largest_count > INT_MAX)
    refuse("options::largest_count must be in 1 to 2147483647");
  MPI_Request open = MPI_REQUEST_NULL;
  auto made = std::make_unique<MPI_Comm>(MPI_COMM_NULL);
  check(MPI_Comm_idup(ranks, made.get(), &open), "MPI_Comm_idup");
  patience waiting{true, how.timeout};
  for (int done = 0;;) {
    check(MPI_Test(&open, &done, MPI_STATUS_IGNORE), "MPI_Comm_idup");
    if (done != 0) return *made;
    if (waiting.pass() && waiting.expired()) break;
  }
  static_cast<void>(made.release());  // MPI may still write it
  somebody_is_missing() = true;
  throw timeout_error{"allfold: mpi::communicator at " + place_of(where) +
                      ": another rank has not come within " + in_milliseconds(how.timeout)};
}

}  // namespace allfold::mpi
