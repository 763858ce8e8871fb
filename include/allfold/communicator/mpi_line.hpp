// One rank's communicator of MPI itself, which is never waited for without a limit.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <allfold/communicator/call.hpp>
#include <allfold/communicator/mpi_duplicate.hpp>
#include <allfold/communicator/mpi_notices.hpp>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace allfold::mpi {

/// What MPI may use while a call is under way, and afterwards, if it was given up.
struct in_flight {
  /// A call as its rank has said it to the others.
  struct said_call {
    std::uint64_t fingerprint;
    char words[504];
  };
  std::uint64_t most[6];            ///< of numbers of all ranks
  std::vector<said_call> said;      ///< by all ranks
  std::vector<int> counts, begins;  ///< by rank, in bytes
  std::vector<MPI_Request> requests;
  std::vector<std::byte> scratch;
  notices notes;
};

/// A communicator of MPI that only the library uses. What MPI answers becomes a typed error; then
/// it refuses further calls, and the other ranks are told. Used by one thread at a time, save where
/// it says otherwise.
class line {
  struct fault {
    host::failure_kind kind;
    std::string text;
  };
  /// What any thread may use.
  struct outside {
    std::atomic<bool> taken{false};  ///< a thread is in a collective, or sends notices
    std::atomic<bool> has_wish{false};
    std::mutex mutex;
    std::optional<fault> wish;  ///< to fail
  };

 public:
  /// Takes a communicator over.
  line(MPI_Comm own, mpi::options how, std::source_location where)
      : handle_{own},
        options_{how},
        limit_{how.timeout},
        made_{where},
        flight_{std::make_unique<in_flight>()},
        outside_{std::make_unique<outside>()} {
    check(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(handle_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(handle_, &size_), "MPI_Comm_size");
  }
  line(line&& other) noexcept
      : last_{other.last_},
        number_{other.number_},
        handle_{std::exchange(other.handle_, MPI_COMM_NULL)},
        options_{other.options_},
        limit_{other.limit_},
        made_{other.made_},
        flight_{std::move(other.flight_)},
        outside_{std::move(other.outside_)},
        rank_{other.rank_},
        size_{other.size_},
        failure_{std::move(other.failure_)} {}
  line& operator=(line&&) = delete;
  /// Frees it, if nothing has failed; every rank does. Otherwise MPI may still be at work on it.
  ~line() {
    take_wish();
    if (works())
      MPI_Comm_free(&handle_);
    else
      static_cast<void>(flight_.release());
  }

  MPI_Comm get() const { return handle_; }
  int rank() const { return rank_; }
  int size() const { return size_; }
  std::uint64_t number() const { return number_; }
  const mpi::options& settings() const { return options_; }
  /// Waits a quarter longer from now on than the options say, as far as time can be counted.
  void wait_longer() {
    const auto left = decltype(limit_)::max() - options_.timeout;
    limit_ = options_.timeout + std::min<decltype(limit_)>(options_.timeout / 4, left);
  }
  in_flight& flight() { return *flight_; }
  /// False once it has failed or was moved from, and when MPI has ended.
  bool works() const {
    int ended = 0;
    MPI_Finalized(&ended);
    return handle_ != MPI_COMM_NULL && !failure_ && ended == 0;
  }

  /// Has MPI begin something on the caller's buffers, `begin(MPI_Request*)`, and waits for it.
  template <class Begin>
  void run(Begin begin, const char* what) {
    MPI_Request open = MPI_REQUEST_NULL;
    take(begin(&open), what);
    const auto test = [&](int* done) { return MPI_Test(&open, done, MPI_STATUS_IGNORE); };
    wait_or_finish(test, what);
  }
  /// The same on memory of `flight()`, which stays.
  template <class Begin>
  void run_on_own(Begin begin, const char* what) {
    MPI_Request open = MPI_REQUEST_NULL;
    take(begin(&open), what);
    wait([&](int* done) { return MPI_Test(&open, done, MPI_STATUS_IGNORE); }, what);
  }
  /// Waits for everything in `flight().requests`.
  void run_all(const char* what) {
    std::vector<MPI_Request>& open = flight_->requests;
    wait_or_finish(
        [&](int* done) {
          return MPI_Testall(static_cast<int>(open.size()), open.data(), done, MPI_STATUSES_IGNORE);
        },
        what);
    open.clear();
  }
  void take(int code, const char* what) {
    if (code == MPI_SUCCESS) return;
    const std::string text = std::string{what} + " failed: " + text_of(code);
    fail(host::failure_kind::lost, "on " + name_of(rank_) + " " + text);
    flight_->notes.finish(longest_farewell);
    throw mpi_error{code, "allfold: " + name_of(rank_) + ", " + describe_last() + ": " + text};
  }

  /// Held by the thread that uses it. Waits for one that sends notices.
  class turn {
   public:
    explicit turn(line& of) : of_{*of.outside_} {
      while (of_.taken.exchange(true)) std::this_thread::yield();
    }
    turn(const turn&) = delete;
    turn& operator=(const turn&) = delete;
    ~turn() { of_.taken = false; }

   private:
    outside& of_;
  };
  /// Fails this communicator and tells the other ranks, unless it has failed already. Any thread
  /// may call it. If another one is in a collective meanwhile, that one tells the others, and gets
  /// the error too; if this one must not call MPI, the one that next does.
  void give_up(host::failure_kind kind, const std::string& text) {
    {
      const std::lock_guard lock{outside_->mutex};
      if (!outside_->wish) outside_->wish = fault{kind, text};
    }
    outside_->has_wish = true;
    if (!may_call_mpi() || outside_->taken.exchange(true)) return;
    take_wish();
    outside_->taken = false;
  }
  /// Does for the thread in a collective what it, or another one, has asked for by `give_up`.
  void take_wish() {
    if (!outside_ || !outside_->has_wish.exchange(false)) return;
    const std::lock_guard lock{outside_->mutex};
    fail(outside_->wish->kind, outside_->wish->text);
    flight_->notes.finish(longest_farewell);
  }

 protected:
  static std::string name_of(int rank) { return "rank " + std::to_string(rank); }
  std::string describe_last() const {
    return last_.kind != nullptr ? describe(last_, number_)
                                 : "the making of an mpi::communicator at " + place_of(made_);
  }
  [[noreturn]] void throw_failure() const {
    host::throw_as(failure_->kind,
                   "allfold: " + name_of(rank_) + ", " + describe_last() + ": " + failure_->text);
  }
  /// Fails this communicator, and tells the other ranks unless they know. The first failure counts.
  void fail(host::failure_kind kind, const std::string& text, bool tell_all = true) {
    if (!works()) return;
    failure_ = {kind, text};
    if (tell_all) send_to_others(notice_of(kind, number_, text));
  }
  /// Throws if this communicator has failed, or another rank or thread says so.
  void listen() {
    take_wish();
    notice heard;
    int from = failure_ ? -1 : flight_->notes.receive(heard, handle_);
    while (from >= 0 && heard.is_answer) from = flight_->notes.receive(heard, handle_);
    if (from >= 0) {
      fail(heard.kind, heard.text, false);
      if (heard.kind == host::failure_kind::timeout) answer(from);
    }
    if (failure_) throw_failure();
  }
  call last_{};
  std::uint64_t number_ = 0;  ///< of the collective that is called, or will be next

 private:
  /// Notices are on their way at once, unless a rank is slow to take them.
  static constexpr std::chrono::seconds longest_farewell{1};

  /// Waits until `test(&done)`, a call of MPI, says that it is done. MPI works while it is asked,
  /// so there is little sense in spinning, and much in yielding where ranks share a core.
  template <class Test>
  void wait(Test test, const char* what) {
    patience waiting{true, limit_};
    for (;;) {
      int done = 0;
      take(test(&done), what);
      if (done != 0) return;
      if (!waiting.pass()) continue;
      listen();
      if (waiting.expired()) give_up_waiting(what);
    }
  }
  /// The same where MPI works on the caller's buffers. When something has failed it is likely that
  /// the others have begun this too and go on with it, so it is let finish before the caller gets
  /// its buffers back.
  template <class Test>
  void wait_or_finish(Test test, const char* what) {
    try {
      wait(test, what);
    } catch (...) {
      patience waiting{true, longest_farewell};
      for (int done = 0; test(&done) == MPI_SUCCESS && done == 0;)
        if (waiting.pass() && waiting.expired()) break;
      throw;
    }
  }

  /// Tells a rank that has waited for too long where this one is; and the others, which may be
  /// about to ask the same, unless they are too many.
  void answer(int to) {
    notice mine = notice_of(host::failure_kind::timeout, number_, "");
    mine.is_answer = true;
    if (size_ <= 64)
      send_to_others(mine);
    else
      flight_->notes.send(mine, to, handle_);
    flight_->notes.finish(longest_farewell);
  }
  void send_to_others(const notice& it) {
    for (int peer = 0; peer < size_; ++peer)
      if (peer != rank_) flight_->notes.send(it, peer, handle_);
  }

  // ---- ranks that don't come ----

  [[noreturn]] void give_up_waiting(const char* what) {
    const std::string text = name_of(rank_) + " has waited " + in_milliseconds(limit_) + " in " +
                             describe_last() + " (" + what + ")";
    fail(host::failure_kind::timeout, text);
    failure_->text += findings(roll_call());
    somebody_is_missing() = true;  // on this rank: the others only hear of it
    throw_failure();
  }
  /// Who says within a while to be in this collective, too: they hear of the failure and answer, or
  /// have given up themselves.
  std::vector<bool> roll_call() {
    std::vector<bool> present(static_cast<std::size_t>(size_));
    present[static_cast<std::size_t>(rank_)] = true;
    patience waiting{true, std::min<patience::clock::duration>(options_.timeout, longest_farewell)};
    while (std::find(present.begin(), present.end(), false) != present.end()) {
      notice heard;
      const int from = flight_->notes.receive(heard, handle_);
      if (from >= 0 && heard.number == number_) present[static_cast<std::size_t>(from)] = true;
      if (from < 0 && waiting.pass() && waiting.expired()) break;
    }
    return present;
  }
  std::string findings(const std::vector<bool>& present) const {
    std::string names;
    int missing = 0;
    for (int peer = 0; peer < size_; ++peer) {
      if (present[static_cast<std::size_t>(peer)] || ++missing > 16) continue;
      names += (names.empty() ? "" : ", ") + std::to_string(peer);
    }
    if (missing == 0) return ", as all ranks do: MPI does not go on";
    if (missing > 16) names += " and " + std::to_string(missing - 16) + " others";
    return (missing == 1 ? " for rank " : " for ranks ") + names + ", of which nothing is heard";
  }

  MPI_Comm handle_;
  mpi::options options_;
  patience::clock::duration limit_;
  std::source_location made_;
  std::unique_ptr<in_flight> flight_;
  std::unique_ptr<outside> outside_;
  int rank_ = 0;
  int size_ = 0;
  std::optional<fault> failure_;
};

}  // namespace allfold::mpi
