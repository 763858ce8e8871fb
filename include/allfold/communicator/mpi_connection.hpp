// One rank's communicator of MPI itself, which is never waited for without a limit.
#pragma once

#include <mpi.h>

#include <allfold/communicator/call.hpp>
#include <allfold/communicator/mpi_duplicate.hpp>
#include <allfold/communicator/mpi_notices.hpp>
#include <optional>
#include <span>
#include <utility>

namespace allfold::mpi {

/// What MPI may use while a call is under way, and afterwards, if it was given up.
struct in_flight {
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
/// it refuses further calls, and the other ranks are told.
class connection {
 public:
  /// Takes a communicator over.
  connection(MPI_Comm own, mpi::options how, std::source_location where)
      : handle_{own}, options_{how}, made_{where}, flight_{std::make_unique<in_flight>()} {
    check(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(handle_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(handle_, &size_), "MPI_Comm_size");
  }
  connection(connection&& other) noexcept
      : handle_{std::exchange(other.handle_, MPI_COMM_NULL)},
        options_{other.options_},
        made_{other.made_},
        flight_{std::move(other.flight_)},
        rank_{other.rank_},
        size_{other.size_},
        has_companion_{other.has_companion_},
        last_{other.last_},
        number_{other.number_},
        failure_{std::move(other.failure_)} {}
  connection& operator=(connection&&) = delete;
  /// Frees it, if nothing has failed; every rank does. Otherwise MPI may still be at work on it.
  ~connection() {
    if (works())
      MPI_Comm_free(&handle_);
    else
      static_cast<void>(flight_.release());
  }

  /// Throws a mismatch_error on every rank if they differ in options that must be alike, and finds
  /// out what all of them can do. Every rank calls it first.
  void agree() {
    int level = 0;
    check(MPI_Query_thread(&level), "MPI_Query_thread");
    std::uint64_t(&most)[6] = flight_->most;  // the largest of ~x is the smallest of x
    most[0] = options_.compare_calls ? 1 : 0;
    most[1] = options_.largest_count;
    for (int i : {0, 1}) most[2 + i] = ~most[i];
    most[4] = level == MPI_THREAD_MULTIPLE ? 0 : 1;
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    most[5] =
        mixed(reinterpret_cast<std::uintptr_t>(flight_.get()), static_cast<std::uint64_t>(now));
    spread(6, "MPI_Iallreduce, to compare options");
    has_companion_ = most[4] == 0;
    flight_->notes.belong_to(most[5]);
    if (most[0] == ~most[2] && most[1] == ~most[3]) return;
    fail(host::failure_kind::mismatch, "the ranks have different options", false);
    throw_failure();
  }

  MPI_Comm get() const { return handle_; }
  int rank() const { return rank_; }
  int size() const { return size_; }
  std::uint64_t number() const { return number_; }
  const mpi::options& settings() const { return options_; }
  in_flight& flight() { return *flight_; }
  /// True if on every rank several threads may call MPI at once.
  bool has_companion() const { return has_companion_; }
  /// False once it has failed or was moved from, and when MPI has ended.
  bool works() const {
    int ended = 0;
    MPI_Finalized(&ended);
    return handle_ != MPI_COMM_NULL && !failure_ && ended == 0;
  }

  /// True if ranks hear from each other before each collective.
  bool compares() const { return options_.compare_calls && size_ > 1; }
  /// Notes the collective that errors are to name, and has the ranks compare it.
  void enter(const call& said) {
    last_ = said;
    int ended = 0;
    MPI_Finalized(&ended);
    if (ended != 0)
      throw usage_error{"allfold: " + name_of(rank_) + ", " + describe_last() + ": MPI has ended"};
    listen();
    if (compares()) compare(said);
  }
  void leave() { ++number_; }

  /// Has MPI begin something, `begin(MPI_Request*)`, and waits for it.
  template <class Begin>
  void run(Begin begin, const char* what) {
    MPI_Request open = MPI_REQUEST_NULL;
    take(begin(&open), what);
    wait([&](int* done) { return MPI_Test(&open, done, MPI_STATUS_IGNORE); }, what);
  }
  /// Waits for everything in `flight().requests`.
  void run_all(const char* what) {
    std::vector<MPI_Request>& open = flight_->requests;
    wait(
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
    throw mpi_error{code, "allfold: " + name_of(rank_) + ", " + describe_last() + ": " + text};
  }

  /// Fails this communicator, and tells the other ranks unless they know. The first failure counts.
  void fail(host::failure_kind kind, const std::string& text, bool tell_all = true) {
    if (!works()) return;
    failure_ = {kind, text};
    if (tell_all) send_to_others(notice_of(kind, number_, text));
    if (kind != host::failure_kind::timeout)  // after which a roll call sends them as well
      flight_->notes.finish(longest_farewell);
  }

 private:
  struct failure {
    host::failure_kind kind;
    std::string text;
  };
  /// Notices are on their way at once unless something is wrong with MPI, too.
  static constexpr std::chrono::seconds longest_farewell{1};

  static std::string name_of(int rank) { return "rank " + std::to_string(rank); }
  std::string describe_last() const {
    return last_.kind != nullptr ? describe(last_, number_)
                                 : "the making of an mpi::communicator at " + place_of(made_);
  }
  [[noreturn]] void throw_failure() const {
    host::throw_as(failure_->kind,
                   "allfold: " + name_of(rank_) + ", " + describe_last() + ": " + failure_->text);
  }

  /// Waits until `test(&done)`, a call of MPI, says that it is done. MPI works while it is asked,
  /// so there is little sense in spinning, and much in yielding where ranks share a core.
  template <class Test>
  void wait(Test test, const char* what) {
    patience waiting{true, options_.timeout};
    for (;;) {
      int done = 0;
      take(test(&done), what);
      if (done != 0) return;
      if (!waiting.pass()) continue;
      listen();
      if (waiting.expired()) give_up_waiting(what);
    }
  }

  /// Throws if this communicator has failed, or another rank says so.
  void listen() {
    notice heard;
    int from = failure_ ? -1 : flight_->notes.receive(heard, handle_);
    while (from >= 0 && heard.is_answer) from = flight_->notes.receive(heard, handle_);
    if (from >= 0) {
      fail(heard.kind, heard.text, false);
      if (heard.kind == host::failure_kind::timeout) answer(from);
    }
    if (failure_) throw_failure();
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
    const std::string text = name_of(rank_) + " has waited " + in_milliseconds(options_.timeout) +
                             " in " + describe_last() + " (" + what + ")";
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

  // ---- ranks that call something else ----

  /// The largest on any rank of each of the numbers in `most`.
  void spread(int count, const char* what) {
    const auto begin = [&](MPI_Request* open) {
      return MPI_Iallreduce(MPI_IN_PLACE, flight_->most, count, MPI_UINT64_T, MPI_MAX, handle_,
                            open);
    };
    run(begin, what);
  }
  /// Throws a mismatch_error on every rank unless all call the same.
  void compare(const call& said) {
    const std::uint64_t mine = mixed(said.fingerprint(), number_);
    flight_->most[0] = mine;
    flight_->most[1] = ~mine;
    spread(2, "MPI_Iallreduce, to compare calls");
    if (flight_->most[0] != ~flight_->most[1]) disagree(mine);
  }
  [[noreturn]] void disagree(std::uint64_t fingerprint) {
    std::vector<in_flight::said_call>& all = flight_->said;
    all.assign(static_cast<std::size_t>(size_), {});
    in_flight::said_call& mine = all[static_cast<std::size_t>(rank_)];
    const std::string words = describe_last();
    mine.fingerprint = fingerprint;
    std::memcpy(mine.words, words.data(), std::min(words.size(), sizeof mine.words - 1));
    const auto begin = [&](MPI_Request* open) {
      return MPI_Iallgather(MPI_IN_PLACE, 0, MPI_BYTE, all.data(), sizeof mine, MPI_BYTE, handle_,
                            open);
    };
    run(begin, "MPI_Iallgather, to tell what was called");
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

  MPI_Comm handle_;
  mpi::options options_;
  std::source_location made_;
  std::unique_ptr<in_flight> flight_;
  int rank_ = 0;
  int size_ = 0;
  bool has_companion_ = false;
  call last_{};
  std::uint64_t number_ = 0;  ///< of the collective that is called, or will be next
  std::optional<failure> failure_;
};

}  // namespace allfold::mpi
