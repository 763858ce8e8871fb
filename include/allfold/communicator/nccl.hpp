// Ranks that work on GPUs and leave their collectives to NCCL. Needs NCCL 2.18 or newer and the
// CUDA runtime, but no CUDA compiler.
#pragma once

#include <nccl.h>

#include <allfold/communicator/cuda_runtime.cuh>
#include <allfold/communicator/engine.hpp>
#include <allfold/communicator/nccl_bytes.hpp>
#include <allfold/communicator/nccl_types.hpp>
#include <allfold/communicator/threads.hpp>
#include <allfold/schedule/native.hpp>
#include <optional>

namespace allfold::nccl {

/// What a communicator may be told when it is made.
struct options {
  /// The longest wait for NCCL, to come up, to take a call, or in `synchronize`.
  std::chrono::steady_clock::duration timeout = std::chrono::minutes{10};
};

/// A rank's communicator over NCCL. Used by its own thread. Collectives are given to the rank's
/// stream and complete in its order; only `native` and `automatic` algorithms.
///
/// NCCL is called non-blocking, and everything that it does is waited for with a time limit: where
/// it is over, NCCL's communicator is aborted and a timeout_error says in which call. Errors that
/// NCCL finds meanwhile become an nccl_error, or a rank_lost_error where another rank is gone. A
/// communicator that has failed refuses further calls.
///
/// Ranks that are threads of one process are compared before each call, as threads::communicator
/// does it. Ranks in several processes are not: NCCL can't tell that they disagree, and the time
/// limit ends it.
class communicator {
 public:
  static constexpr memory_space space = memory_space::device;
  static constexpr bool has_engine = true;

  /// Ranks that are threads: every rank of `control` calls it with the number of its GPU.
  communicator(threads::communicator control, int gpu, nccl::options options = {},
               std::source_location where = std::source_location::current())
      : control_{std::move(control)},
        rank_{control_->rank()},
        size_{control_->size()},
        gpu_{gpu},
        options_{options} {
    // The ranks' threads agree on rank 0's identifier. It is given a name, because nvcc 13.0 breaks
    // down on a std::vector of NCCL's nameless struct.
    struct identifier {
      ncclUniqueId it;
    };
    identifier own{};
    if (rank_ == 0) check(ncclGetUniqueId(&own.it), "ncclGetUniqueId");
    begin(control_->gather(own, where)[0].it);
  }
  /// Ranks anywhere: every rank gives the same identifier, which one of them has from
  /// ncclGetUniqueId and has sent to the others, and its own rank.
  communicator(const ncclUniqueId& id, int rank, int size, int gpu, nccl::options options = {})
      : rank_{rank}, size_{size}, gpu_{gpu}, options_{options} {
    if (size < 1 || rank < 0 || rank >= size)
      throw usage_error{"allfold: there is no rank " + std::to_string(rank) + " among " +
                        std::to_string(size) + " ranks of an nccl::communicator"};
    begin(id);
  }
  communicator(communicator&& other) noexcept
      : control_{std::move(other.control_)},
        rank_{other.rank_},
        size_{other.size_},
        gpu_{other.gpu_},
        options_{other.options_},
        handle_{std::exchange(other.handle_, nullptr)},
        own_stream_{std::move(other.own_stream_)},
        stream_{other.stream_},
        last_{other.last_},
        number_{other.number_},
        scratch_{std::move(other.scratch_)},
        alone_{std::move(other.alone_)} {}
  communicator& operator=(communicator&&) = delete;
  /// Waits for the rank's stream, if nothing has failed.
  ~communicator() {
    if (handle_ == nullptr) return;
    try {
      synchronize();
      ncclCommFinalize(handle_);
      settle("ncclCommFinalize");
      ncclCommDestroy(handle_);
    } catch (const error&) {
      stop();
    }
  }

  int rank() const { return rank_; }
  int size() const { return size_; }
  int gpu() const { return gpu_; }
  cudaStream_t stream() const { return stream_; }
  /// Takes a stream of the caller's from now on, which waits for what the former stream holds.
  void use_stream(cudaStream_t stream) {
    const cuda::device_scope current{gpu_};
    cuda::event done;
    done.record(stream_);
    done.hold_back(stream);
    stream_ = stream;
  }

  /// Fails this rank's communicator, and with it those of all ranks that are threads.
  void abort(const std::string& why) {
    if (control_) control_->abort(why);
    stop();
  }

  /// Waits until all collectives are complete. Throws if one has failed or the time is over.
  void synchronize() {
    require_working();
    const cuda::device_scope current{gpu_};
    patience waiting{false, options_.timeout};
    for (cudaError_t found = cudaStreamQuery(stream_); found != cudaSuccess;
         found = cudaStreamQuery(stream_)) {
      if (found != cudaErrorNotReady) cuda::check(found, "cudaStreamQuery");
      if (!waiting.pass()) continue;
      look_for_errors();
      if (waiting.expired()) give_up_waiting("for the stream");
    }
    look_for_errors();
  }

  /// Divides the ranks into teams: those that give the same color (>= 0), ordered by key, then by
  /// rank. Every rank calls it.
  communicator split(int color, int key = 0,
                     std::source_location where = std::source_location::current()) {
    require_working();
    if (color < 0)
      throw usage_error{"allfold: rank " + std::to_string(rank_) + ", split at " + place_of(where) +
                        ": NCCL takes no negative color, such as " + std::to_string(color)};
    std::optional<threads::communicator> team;
    if (control_) team.emplace(control_->split(color, key, where));
    const cuda::device_scope current{gpu_};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t made = nullptr;
    take(ncclCommSplit(handle_, color, key, &made, &config), "ncclCommSplit");
    return {std::move(team), made, gpu_, options_};
  }

  /// Every rank's number, by rank. Waits for the stream.
  std::vector<std::uint64_t> gather_numbers(
      std::uint64_t mine, std::source_location where = std::source_location::current()) {
    const cuda::device_scope current{gpu_};
    cuda::device_buffer<std::uint64_t> all{static_cast<std::size_t>(size_)};
    std::vector<std::uint64_t> values(all.size());
    values[static_cast<std::size_t>(rank_)] = mine;
    all.copy_from(values);
    using plan = allfold::native::all_gather;
    native(
        engine_call<plan::kind, std::uint64_t>{
            .input = all.data() + rank_,
            .output = all.data(),
            .count = 1,
            .counts = {},
            .root = 0,
            .in_place = false,
            .said = {.kind = &kind_of_call<plan, std::uint64_t, sum>, .count = 1, .where = where}},
        sum{});
    synchronize();
    return all.to_host();
  }

  /// Multiplies elements in the rank's stream, as NCCL does it: by a scaled sum over one rank.
  /// Every rank calls it.
  template <class T>
  void multiply(device_span<T> elements, double factor) {
    if (!alone_) alone_ = std::make_unique<communicator>(split(rank_));
    alone_->scale(elements, static_cast<T>(static_cast<accumulator<T>>(factor)), stream_);
  }

  /// Gives a collective to the rank's stream.
  template <collective What, class T, class Operation>
  void native(const engine_call<What, T>& it, const Operation& operation) {
    require_working();
    last_ = it.said;
    if (control_) control_->meet(it.said);
    const cuda::device_scope current{gpu_};
    if constexpr (folds(What))
      fold(it, operation);
    else
      move(it);
    ++number_;
  }

 private:
  communicator(std::optional<threads::communicator> control, ncclComm_t made, int gpu,
               nccl::options options)
      : control_{std::move(control)},
        rank_{0},
        size_{0},
        gpu_{gpu},
        options_{options},
        handle_{made} {
    settle("ncclCommSplit");
    check(ncclCommUserRank(handle_, &rank_), "ncclCommUserRank");
    check(ncclCommCount(handle_, &size_), "ncclCommCount");
    make_stream();
  }
  void begin(const ncclUniqueId& id) {
    const cuda::device_scope current{gpu_};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    take(ncclCommInitRankConfig(&handle_, size_, id, rank_, &config), "ncclCommInitRankConfig");
    make_stream();
  }
  void make_stream() {
    const cuda::device_scope current{gpu_};
    own_stream_ = std::make_unique<cuda::stream>();
    stream_ = own_stream_->get();
  }

  // ---- collectives ----

  template <collective What, class T, class Operation>
  void fold(const engine_call<What, T>& it, const Operation&) {
    const ncclDataType_t type = folded_type<T>();
    constexpr ncclRedOp_t by = operation_of<Operation>();
    if constexpr (What == collective::all_reduce)
      take(ncclAllReduce(it.input, it.output, it.count, type, by, handle_, stream_),
           "ncclAllReduce");
    else if constexpr (What == collective::reduce)
      take(ncclReduce(it.input, it.output, it.count, type, by, it.root, handle_, stream_),
           "ncclReduce");
    else
      take(ncclReduceScatter(it.input, it.output, it.count, type, by, handle_, stream_),
           "ncclReduceScatter");
  }

  template <collective What, class T>
  void move(const engine_call<What, T>& it) {
    const auto* const input = reinterpret_cast<const std::byte*>(it.input);
    auto* const output = reinterpret_cast<std::byte*>(it.output);
    const std::size_t share = it.count * sizeof(T);
    const byte_mover by{handle_, stream_, rank_, size_};
    const byte_layout parts{it.counts, it.count, sizeof(T)};
    if constexpr (What == collective::broadcast)
      take(by.broadcast(input, output, share, it.root), "ncclBroadcast");
    else if constexpr (What == collective::barrier)
      meet_on_devices();
    else if constexpr (What == collective::all_gather)
      take(it.counts.empty() ? by.all_gather(input, output, share)
                             : by.all_gather(input, output, parts),
           "ncclAllGather");
    else if constexpr (What == collective::scatter)
      take(by.scatter(input, output, parts, it.root), "a scatter by ncclSend");
    else if constexpr (What == collective::gather)
      take(by.gather(input, output, parts, it.root), "a gather by ncclSend");
    else
      take(by.exchange(it.in_place ? set_aside(input, share) : input, output, share),
           "an exchange by ncclSend");
  }
  /// A copy of all ranks' shares, for an exchange in place.
  const std::byte* set_aside(const std::byte* input, std::size_t share) {
    const std::size_t bytes = share * static_cast<std::size_t>(size_);
    grow_scratch(bytes);
    cuda::check(cudaMemcpyAsync(scratch_.data(), input, bytes, cudaMemcpyDeviceToDevice, stream_),
                "cudaMemcpyAsync");
    return scratch_.data();
  }
  /// A barrier holds the host as well, so that it means the same as on other communicators.
  void meet_on_devices() {
    grow_scratch(1);
    take(ncclAllReduce(scratch_.data(), scratch_.data(), 1, ncclUint8, ncclMax, handle_, stream_),
         "ncclAllReduce");
    synchronize();
  }
  void grow_scratch(std::size_t bytes) {
    if (bytes <= scratch_.size()) return;
    synchronize();
    scratch_ = cuda::device_buffer<std::byte>{bytes};
  }

  template <class T>
  void scale(device_span<T> elements, T factor, cudaStream_t stream) {
    const cuda::device_scope current{gpu_};
    const ncclDataType_t type = folded_type<T>();
    ncclRedOp_t scaled{};
    check(ncclRedOpCreatePreMulSum(&scaled, &factor, type, ncclScalarHostImmediate, handle_),
          "ncclRedOpCreatePreMulSum");
    take(ncclAllReduce(elements.data(), elements.data(), elements.size(), type, scaled, handle_,
                       stream),
         "ncclAllReduce");
    check(ncclRedOpDestroy(scaled, handle_), "ncclRedOpDestroy");
  }

  // ---- failures ----

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
      if (waiting.pass() && waiting.expired()) give_up_waiting(what);
    }
  }
  void look_for_errors() {
    if (control_ && control_->shared()->failed()) {
      stop();
      control_->shared()->throw_failure(rank_, describe_last());
    }
    ncclResult_t state = ncclSuccess;
    check(ncclCommGetAsyncError(handle_, &state), "ncclCommGetAsyncError");
    if (state != ncclSuccess && state != ncclInProgress) check_or_stop(state, "a collective");
  }
  void check_or_stop(ncclResult_t result, const char* what) {
    if (result == ncclSuccess) return;
    const std::string text = "rank " + std::to_string(rank_) + ", " + describe_last() + ": " +
                             what + " failed: " + ncclGetErrorString(result) + ". " +
                             (handle_ != nullptr ? ncclGetLastError(handle_) : "");
    abort(text);
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
    if (handle_ != nullptr) ncclCommAbort(std::exchange(handle_, nullptr));
  }
  std::string describe_last() const {
    return last_.kind == nullptr ? "the making of an nccl::communicator" : describe(last_, number_);
  }

  std::optional<threads::communicator> control_;
  int rank_;
  int size_;
  int gpu_;
  nccl::options options_;
  ncclComm_t handle_ = nullptr;
  std::unique_ptr<cuda::stream> own_stream_;
  cudaStream_t stream_ = nullptr;
  call last_{};
  std::uint64_t number_ = 0;
  cuda::device_buffer<std::byte> scratch_;
  std::unique_ptr<communicator> alone_;  ///< this rank's own, once it was needed
};

}  // namespace allfold::nccl
