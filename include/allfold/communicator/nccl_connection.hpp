// One rank's communicator of NCCL itself, which is never waited for without a limit.
#pragma once

#include <nccl.h>

#include <allfold/communicator/nccl_types.hpp>
#include <allfold/communicator/threads.hpp>
#include <atomic>
#include <memory>
#include <optional>

namespace allfold::nccl {

/// What a communicator may be told when it is made.
struct options {
  /// The longest wait for NCCL, to come up, to take a call, or in `synchronize`.
  std::chrono::steady_clock::duration timeout = std::chrono::minutes{10};
};

/// True once one of the connections that stand or fall together has failed: a communicator's and
/// its companions'. Each ends its own ncclComm_t then, in its own thread.
using common_end = std::shared_ptr<std::atomic<bool>>;

/// An ncclComm_t that is called non-blocking. What NCCL answers becomes a typed error; then it is
/// aborted, and refuses further calls. Where ranks are threads of one process, all of them hear.
class connection {
 public:
  connection(std::optional<threads::communicator> control, int rank, nccl::options options,
             common_end end = std::make_shared<std::atomic<bool>>(false))
      : control_{std::move(control)}, rank_{rank}, options_{options}, end_{std::move(end)} {}
  connection(connection&& other) noexcept
      : control_{std::move(other.control_)},
        rank_{other.rank_},
        options_{other.options_},
        end_{other.end_},
        handle_{std::exchange(other.handle_, nullptr)},
        last_{other.last_},
        number_{other.number_} {}
  connection& operator=(connection&&) = delete;

  /// The ranks' threads, if they are threads of one process.
  std::optional<threads::communicator>& control() { return control_; }
  bool has_threads() const { return control_.has_value(); }
  int rank() const { return rank_; }
  const nccl::options& settings() const { return options_; }
  const common_end& end() const { return end_; }
  ncclComm_t get() const { return handle_; }
  /// False once it has failed, or was closed.
  bool works() const { return handle_ != nullptr; }

  /// Begins to come up: `begin(ncclComm_t*)` calls NCCL.
  template <class Begin>
  void open(Begin begin, const char* what) {
    take(begin(&handle_), what);
  }
  /// Takes one that NCCL is about to make for this rank, as by ncclCommSplit.
  void adopt(ncclComm_t made, const char* what) {
    handle_ = made;
    settle(what);
    check(ncclCommUserRank(handle_, &rank_), "ncclCommUserRank");
  }
  /// Gives it back, if nothing fails.
  void close() {
    ncclCommFinalize(handle_);
    settle("ncclCommFinalize");
    ncclCommDestroy(std::exchange(handle_, nullptr));
  }

  /// Notes the collective that errors are to name, and has the ranks' threads compare it.
  void enter(const call& said) {
    require_working();
    last_ = said;
    look_for_common_end();
    if (control_) control_->meet(said);
  }
  void leave() { ++number_; }

  /// Fails this rank's communicator, and with it those of all ranks that are threads. Where ranks
  /// are threads, any thread of the rank may call it: the one that uses the communicator ends
  /// NCCL's kernels, in its next call, in `synchronize`, or when it destroys it.
  void abort(const std::string& why) {
    if (!control_) return stop();
    control_->abort(why);
    end_->store(true);
  }
  /// The same because this rank leaves with an exception.
  void leave_with(const std::exception_ptr& thrown) {
    if (!control_) return stop();
    control_->leave_with(thrown);
    end_->store(true);
  }

  /// Takes what NCCL answers to a call: it may still be at work on it.
  void take(ncclResult_t answer, const char* what) {
    if (answer != ncclInProgress) return check_or_stop(answer, what);
    settle(what);
  }
  /// Waits until NCCL has taken the last call.
  void settle(const char* what) {
    patience waiting{false, options_.timeout};
    for (;;) {
      ncclResult_t state = ncclSuccess;
      check(ncclCommGetAsyncError(handle_, &state), "ncclCommGetAsyncError");
      if (state == ncclSuccess) return;
      if (state != ncclInProgress) return check_or_stop(state, what);
      if (!waiting.pass()) continue;
      look_for_common_end();
      if (waiting.expired()) give_up_waiting(what);
    }
  }
  void look_for_errors() {
    look_for_common_end();
    ncclResult_t state = ncclSuccess;
    check(ncclCommGetAsyncError(handle_, &state), "ncclCommGetAsyncError");
    if (state != ncclSuccess && state != ncclInProgress) check_or_stop(state, "a collective");
  }
  /// Ends if another thread's communicator has, or this one's companion.
  void look_for_common_end() {
    if (control_ && control_->shared()->failed()) {
      stop();
      control_->shared()->throw_failure(rank_, describe_last());
    }
    if (!end_->load()) return;
    stop();
    throw rank_lost_error{"allfold: rank " + std::to_string(rank_) + ", " + describe_last() +
                          ": this rank's companion of the nccl::communicator, or whose companion "
                          "it is, has failed"};
  }
  void check_or_stop(ncclResult_t result, const char* what) {
    if (result == ncclSuccess) return;
    const std::string text = "rank " + std::to_string(rank_) + ", " + describe_last() + ": " +
                             what + " failed: " + ncclGetErrorString(result) + ". " +
                             (handle_ != nullptr ? ncclGetLastError(handle_) : "");
    abort(text);
    stop();
    if (result == ncclRemoteError) throw rank_lost_error{"allfold: " + text};
    throw nccl_error{result, "allfold: " + text};
  }
  [[noreturn]] void give_up_waiting(const char* what) {
    const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(options_.timeout);
    const std::string text = "rank " + std::to_string(rank_) + " has waited " +
                             std::to_string(limit.count()) + " ms in " + describe_last() + " (" +
                             what + "): another rank has not come, or NCCL hangs";
    if (control_) control_->shared()->fail(threads::failure_kind::timeout, rank_, text);
    stop();
    throw timeout_error{"allfold: " + text};
  }
  void require_working() const {
    if (handle_ != nullptr) return;
    if (control_ && control_->shared()->failed())
      control_->shared()->throw_failure(rank_, describe_last());
    throw rank_lost_error{"allfold: rank " + std::to_string(rank_) +
                          ": this nccl::communicator has failed in " + describe_last()};
  }
  /// Ends NCCL's kernels, wherever they are.
  void stop() {
    end_->store(true);
    if (handle_ != nullptr) ncclCommAbort(std::exchange(handle_, nullptr));
  }

 private:
  std::string describe_last() const {
    return last_.kind == nullptr ? "the making of an nccl::communicator" : describe(last_, number_);
  }

  std::optional<threads::communicator> control_;
  int rank_;
  nccl::options options_;
  common_end end_;
  ncclComm_t handle_ = nullptr;
  call last_{};
  std::uint64_t number_ = 0;
};

}  // namespace allfold::nccl
