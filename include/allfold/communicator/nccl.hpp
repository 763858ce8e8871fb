// Ranks that work on GPUs and leave their collectives to NCCL. Needs NCCL 2.18 or newer and the
// CUDA runtime, but no CUDA compiler.
#pragma once

#include <nccl.h>

#include <allfold/communicator/cuda_runtime.cuh>
#include <allfold/communicator/engine.hpp>
#include <allfold/communicator/nccl_bytes.hpp>
#include <allfold/communicator/nccl_connection.hpp>
#include <allfold/communicator/nccl_types.hpp>
#include <allfold/schedule/native.hpp>

namespace allfold::nccl {

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
      : size_{control.size()}, gpu_{gpu}, link_{{}, control.rank(), options} {
    // The ranks' threads agree on rank 0's identifier. It is given a name, because nvcc 13.0 breaks
    // down on a std::vector of NCCL's nameless struct.
    struct identifier {
      ncclUniqueId it;
    };
    identifier own{};
    if (control.rank() == 0) check(ncclGetUniqueId(&own.it), "ncclGetUniqueId");
    own = control.gather(own, where)[0];
    link_.control().emplace(std::move(control));
    begin(own.it);
  }
  /// Ranks anywhere: every rank gives the same identifier, which one of them has from
  /// ncclGetUniqueId and has sent to the others, and its own rank.
  communicator(const ncclUniqueId& id, int rank, int size, int gpu, nccl::options options = {})
      : size_{size}, gpu_{gpu}, link_{{}, rank, options} {
    if (size < 1 || rank < 0 || rank >= size)
      throw usage_error{"allfold: there is no rank " + std::to_string(rank) + " among " +
                        std::to_string(size) + " ranks of an nccl::communicator"};
    begin(id);
  }
  communicator(communicator&&) noexcept = default;
  communicator& operator=(communicator&&) = delete;
  /// Waits for the rank's stream, if nothing has failed.
  ~communicator() {
    if (!link_.works()) return;
    try {
      synchronize();
      link_.close();
    } catch (const error&) {
      link_.stop();
    }
  }

  int rank() const { return link_.rank(); }
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

  /// A mark for streams of this rank's GPU.
  std::unique_ptr<stream_mark> mark() const { return std::make_unique<cuda::event_mark>(gpu_); }
  /// True if collectives are given to the stream and no more: ranks that are threads meet first.
  /// NCCL may wait for the other ranks in the first ones, while it connects them.
  bool enqueues_at_once() const { return !link_.has_threads(); }

  /// Fails this rank's communicator, and with it those of all ranks that are threads.
  void abort(const std::string& why) { link_.abort(why); }
  /// The same because this rank leaves with an exception.
  void leave_with(const std::exception_ptr& thrown) { link_.leave_with(thrown); }

  /// Waits until all collectives are complete. Throws if one has failed or the time is over.
  void synchronize() {
    link_.require_working();
    const cuda::device_scope current{gpu_};
    patience waiting{false, link_.settings().timeout};
    for (cudaError_t found = cudaStreamQuery(stream_); found != cudaSuccess;
         found = cudaStreamQuery(stream_)) {
      if (found != cudaErrorNotReady) cuda::check(found, "cudaStreamQuery");
      if (!waiting.pass()) continue;
      link_.look_for_errors();
      if (waiting.expired()) link_.give_up_waiting("for the stream");
    }
    link_.look_for_errors();
  }

  /// Divides the ranks into teams: those that give the same color (>= 0), ordered by key, then by
  /// rank. Every rank calls it.
  communicator split(int color, int key = 0,
                     std::source_location where = std::source_location::current()) {
    link_.require_working();
    if (color < 0)
      throw usage_error{"allfold: rank " + std::to_string(rank()) + ", split at " +
                        place_of(where) + ": NCCL takes no negative color, such as " +
                        std::to_string(color)};
    std::optional<threads::communicator> team;
    if (link_.control()) team.emplace(link_.control()->split(color, key, where));
    return {{std::move(team), rank(), link_.settings()}, divided(color, key), gpu_};
  }
  /// The same ranks once more, for a second thread of each, or for the same one: with a stream of
  /// its own, whose kernels go first. Every rank calls it. If one fails, both do.
  communicator companion(std::source_location where = std::source_location::current()) {
    link_.require_working();
    std::optional<threads::communicator> team;
    if (link_.control()) team.emplace(link_.control()->companion(where));
    return {{std::move(team), rank(), link_.settings(), link_.end()},
            divided(0, rank()),
            gpu_,
            cuda::priority::first};
  }

  /// Every rank's number, by rank. Waits for the stream.
  std::vector<std::uint64_t> gather_numbers(
      std::uint64_t mine, std::source_location where = std::source_location::current()) {
    const cuda::device_scope current{gpu_};
    cuda::device_buffer<std::uint64_t> all{static_cast<std::size_t>(size_)};
    std::vector<std::uint64_t> values(all.size());
    values[static_cast<std::size_t>(rank())] = mine;
    all.copy_from(values);
    using plan = allfold::native::all_gather;
    native(
        engine_call<plan::kind, std::uint64_t>{
            .input = all.data() + rank(),
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
    if (!alone_) alone_ = std::make_unique<communicator>(split(rank()));
    alone_->scale(elements, static_cast<T>(static_cast<accumulator<T>>(factor)), stream_);
  }

  /// Gives a collective to the rank's stream.
  template <collective What, class T, class Operation>
  void native(const engine_call<What, T>& it, const Operation& operation) {
    link_.enter(it.said);
    const cuda::device_scope current{gpu_};
    if constexpr (folds(What))
      fold(it, operation);
    else
      move(it);
    link_.leave();
  }

 private:
  /// One that NCCL is about to make for this rank.
  communicator(connection link, ncclComm_t made, int gpu,
               cuda::priority of_stream = cuda::priority::normal)
      : size_{0}, gpu_{gpu}, link_{std::move(link)} {
    link_.adopt(made, "ncclCommSplit");
    check(ncclCommCount(link_.get(), &size_), "ncclCommCount");
    make_stream(of_stream);
  }
  ncclComm_t divided(int color, int key) {
    const cuda::device_scope current{gpu_};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t made = nullptr;
    link_.take(ncclCommSplit(link_.get(), color, key, &made, &config), "ncclCommSplit");
    return made;
  }
  void begin(const ncclUniqueId& id) {
    const cuda::device_scope current{gpu_};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const auto come_up = [&](ncclComm_t* made) {
      return ncclCommInitRankConfig(made, size_, id, rank(), &config);
    };
    link_.open(come_up, "ncclCommInitRankConfig");
    make_stream(cuda::priority::normal);
  }
  void make_stream(cuda::priority whose) {
    const cuda::device_scope current{gpu_};
    own_stream_ = std::make_unique<cuda::stream>(whose);
    stream_ = own_stream_->get();
  }

  // ---- collectives ----

  template <collective What, class T, class Operation>
  void fold(const engine_call<What, T>& it, const Operation&) {
    const ncclDataType_t type = folded_type<T>();
    constexpr ncclRedOp_t by = operation_of<Operation>();
    if constexpr (What == collective::all_reduce)
      link_.take(ncclAllReduce(it.input, it.output, it.count, type, by, link_.get(), stream_),
                 "ncclAllReduce");
    else if constexpr (What == collective::reduce)
      link_.take(ncclReduce(it.input, it.output, it.count, type, by, it.root, link_.get(), stream_),
                 "ncclReduce");
    else
      link_.take(ncclReduceScatter(it.input, it.output, it.count, type, by, link_.get(), stream_),
                 "ncclReduceScatter");
  }

  template <collective What, class T>
  void move(const engine_call<What, T>& it) {
    const auto* const input = reinterpret_cast<const std::byte*>(it.input);
    auto* const output = reinterpret_cast<std::byte*>(it.output);
    const std::size_t share = it.count * sizeof(T);
    const byte_mover by{link_.get(), stream_, rank(), size_};
    const byte_layout parts{it.counts, it.count, sizeof(T)};
    if constexpr (What == collective::broadcast)
      link_.take(by.broadcast(input, output, share, it.root), "ncclBroadcast");
    else if constexpr (What == collective::barrier)
      meet_on_devices();
    else if constexpr (What == collective::all_gather)
      link_.take(it.counts.empty() ? by.all_gather(input, output, share)
                                   : by.all_gather(input, output, parts),
                 "ncclAllGather");
    else if constexpr (What == collective::scatter)
      link_.take(by.scatter(input, output, parts, it.root), "a scatter by ncclSend");
    else if constexpr (What == collective::gather)
      link_.take(by.gather(input, output, parts, it.root), "a gather by ncclSend");
    else
      link_.take(by.exchange(it.in_place ? set_aside(input, share) : input, output, share),
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
    link_.take(ncclAllReduce(scratch_.data(), scratch_.data(), 1, ncclUint8, ncclMax, link_.get(),
                             stream_),
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
    check(ncclRedOpCreatePreMulSum(&scaled, &factor, type, ncclScalarHostImmediate, link_.get()),
          "ncclRedOpCreatePreMulSum");
    link_.take(ncclAllReduce(elements.data(), elements.data(), elements.size(), type, scaled,
                             link_.get(), stream),
               "ncclAllReduce");
    check(ncclRedOpDestroy(scaled, link_.get()), "ncclRedOpDestroy");
  }

  int size_;
  int gpu_;
  connection link_;
  std::unique_ptr<cuda::stream> own_stream_;
  cudaStream_t stream_ = nullptr;
  cuda::device_buffer<std::byte> scratch_;
  std::unique_ptr<communicator> alone_;  ///< this rank's own, once it was needed
};

}  // namespace allfold::nccl
