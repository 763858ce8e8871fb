// Ranks that are processes of one machine, each with a GPU of its own, which reach each other's
// memory by CUDA IPC.
#pragma once

#include <allfold/communicator/concepts.hpp>
#include <allfold/communicator/cuda_arena.cuh>
#include <allfold/communicator/cuda_ipc.cuh>
#include <allfold/communicator/cuda_launch.cuh>
#include <allfold/communicator/exchange_bytes.hpp>
#include <allfold/communicator/threads.hpp>
#include <memory>
#include <vector>

namespace allfold::cuda {

/// What a process_communicator may be told.
struct process_options {
  /// Bytes of device memory that all ranks can reach. Operands in it (see `allocate`) are used
  /// where they are; others are copied into it and back.
  std::size_t arena_bytes = std::size_t{1} << 30;
  /// As many on top are for such copies and for the library's scratch memory, and once more as many
  /// for those of a companion.
  std::size_t staging_bytes = std::size_t{256} << 20;
  /// The longest wait of a kernel for another rank.
  std::chrono::nanoseconds timeout = std::chrono::minutes{10};
};

/// A rank's communicator on a GPU, the other ranks being other processes of the machine. Used by
/// one thread. Collectives are given to the rank's stream and return at once; nothing of a call
/// passes the host, and calls may be captured into a graph of the rank's own.
///
/// Kernels compare what the ranks call, and wait with a time limit. What they find is thrown by
/// `synchronize`; the communicator then refuses further calls.
class process_communicator {
 public:
  static constexpr memory_space space = memory_space::device;
  static constexpr std::size_t small_bytes = tuning::shot_bytes;
  static constexpr std::size_t piece_bytes(int, int chunks) { return piece_bytes_for(1, chunks); }

  /// Every rank calls it. Throws usage_error if two ranks share a GPU or one can't reach another's.
  process_communicator(int rank, int size, int gpu, exchange_bytes exchange,
                       process_options options = {})
      : rank_{rank},
        size_{size},
        gpu_{gpu},
        exchange_{std::move(exchange)},
        options_{options},
        current_{checked(rank, size, gpu)},
        arena_{std::make_shared<arena>(options.arena_bytes, options.staging_bytes)},
        group_{std::make_shared<ipc_group>(rank, size, gpu, exchange_, *arena_, nullptr)} {
    group_->be_patient_for(options.timeout);
  }
  process_communicator(const process_communicator&) = delete;
  process_communicator& operator=(const process_communicator&) = delete;
  /// Waits for the rank's stream, and for the other ranks, which may still look at its counters.
  ~process_communicator() { cudaStreamSynchronize(stream_); }

  int rank() const { return rank_; }
  int size() const { return size_; }
  int gpu() const { return gpu_; }
  cudaStream_t stream() const { return stream_; }
  /// Takes a stream of the caller's from now on, which waits for what the former stream holds.
  void use_stream(cudaStream_t stream) {
    const device_scope current{gpu_};
    event done;
    done.record(stream_);
    done.hold_back(stream);
    stream_ = stream;
  }
  /// A mark for streams of this rank's GPU.
  std::unique_ptr<stream_mark> mark() const { return std::make_unique<event_mark>(gpu_); }
  /// Collectives are given to the stream and no more.
  static constexpr bool enqueues_at_once() { return true; }

  /// The same ranks once more, with a stream of its own, whose kernels go first and leave most of
  /// the GPU to others, and the same arena. Every rank calls it. Used by the same thread; this one
  /// must outlive it. A failure of one is its own, but what a companion's kernels find is thrown by
  /// this one's `synchronize` too.
  process_communicator companion(std::source_location = {}) {
    return process_communicator{beside{*this}};
  }

  /// `count` elements of the arena, until the communicator goes, or a copy of `memory`. Throws
  /// usage_error if there are not so many left.
  template <class T>
  device_span<T> allocate(std::size_t count) {
    T* const elements = arena_->take<T>(count);
    if (elements == nullptr)
      throw usage_error{"allfold: rank " + std::to_string(rank_) + ": " + std::to_string(count) +
                        " elements of " + std::to_string(sizeof(T)) +
                        " bytes do not fit what is left of an arena of " +
                        std::to_string(arena_->bytes()) + " bytes (arena_bytes)"};
    return {elements, count};
  }
  /// What `allocate` gives out is there as long as a copy of this. Collectives need the
  /// communicator besides.
  std::shared_ptr<void> memory() const { return arena_; }

  /// Waits until all collectives are complete. Throws if one has failed, or one of a companion's.
  void synchronize() {
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    throw_if_reported(*group_, [&](std::uint64_t number) { return calls_.describe(number); });
    for (const std::weak_ptr<ipc_group>& each : companions_)
      if (const std::shared_ptr<ipc_group> its = each.lock())
        throw_if_reported(*its, [](std::uint64_t number) {
          return "collective #" + std::to_string(number) + " of a companion";
        });
  }
  /// Makes the kernels of all ranks give up. The others learn who, not why.
  void abort(const std::string& why) {
    why_ = ": " + why;
    const auto who = static_cast<std::uint32_t>(rank_ + 1);
    allfold::cuda::stream aside;  // the rank's own may wait for a kernel that is to be stopped
    check(cudaMemcpyAsync(&group_->all().failure->stopped, &who, sizeof who, cudaMemcpyDefault,
                          aside.get()),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(aside.get()), "cudaStreamSynchronize");
  }
  /// The same because this rank leaves with an exception.
  void leave_with(const std::exception_ptr& thrown) { abort("it threw" + host::text_of(thrown)); }

  std::vector<std::uint64_t> gather_numbers(std::uint64_t mine, std::source_location = {}) {
    return gathered(exchange_, size_, mine);
  }
  template <class T>
  void multiply(device_span<T> elements, double factor) {
    const device_scope current{gpu_};
    scale(elements, factor, stream_);
  }

  /// Carries out a schedule with the other ranks; see threads::communicator::run.
  template <class T, class Schedule, class Operation>
  void run(const Schedule& plan, const threads::operands& memory, const partition& parts,
           const Operation& operation, const call& said) {
    throw_if_failed();
    const device_scope current{gpu_};
    calls_.note(said, number_);
    const extents lengths =
        extents_of(Schedule::kind, root_of(plan), rank_, size(), parts, sizeof(T));
    staging place{*arena_, is_companion_, stream_};
    device::member mine{rank_, nullptr, nullptr, nullptr};
    mine.input = place.reachable(memory.input, lengths.input);
    mine.output =
        memory.input == memory.output ? mine.input : place.reachable(memory.output, lengths.output);
    mine.scratch = place.take(memory.scratch_bytes);
    require_room(place, said);
    auto told = launch_of<T>(plan, parts, operation, said, number_, group_->all());
    device::seat(told, mine);
    start<T, system_scope>(told, group_->lanes(), said.count, stream_);
    const bool stays = memory.input == memory.output;
    place.bring_back(memory.output, mine.output, stays ? lengths.input : lengths.output);
    ++number_;
  }

 private:
  void require_room(const staging& place, const call& said) const {
    if (place.used() <= arena_->staging_bytes()) return;
    throw usage_error{"allfold: rank " + std::to_string(rank_) + ", " + describe(said, number_) +
                      ": needs " + std::to_string(place.used()) +
                      " bytes for copies and scratch memory, of " +
                      std::to_string(arena_->staging_bytes()) +
                      " (staging_bytes); operands from allocate() need no copies"};
  }

  // ---- made once ----

  /// Whose companion it is.
  struct beside {
    process_communicator& of;
  };
  explicit process_communicator(beside it)
      : rank_{it.of.rank_},
        size_{it.of.size_},
        gpu_{it.of.gpu_},
        exchange_{it.of.exchange_},
        options_{it.of.options_},
        is_companion_{true},
        current_{gpu_},
        arena_{it.of.arena_},
        group_{std::make_shared<ipc_group>(rank_, size_, gpu_, exchange_, *arena_,
                                           it.of.group_.get())},
        own_stream_{priority::first} {
    group_->be_patient_for(options_.timeout);
    std::erase_if(it.of.companions_, [](const auto& each) { return each.expired(); });
    it.of.companions_.push_back(group_);
  }
  int checked(int rank, int size, int gpu) const {
    if (size < 1 || size > device::max_ranks || rank < 0 || rank >= size)
      throw usage_error{"allfold: there is no rank " + std::to_string(rank) + " among " +
                        std::to_string(size) + " ranks of a process_communicator, which has " +
                        std::to_string(device::max_ranks) + " at most"};
    int count = 0;
    check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    if (gpu < 0 || gpu >= count)
      throw usage_error{"allfold: rank " + std::to_string(rank) + ": there is no GPU " +
                        std::to_string(gpu) + " among " + std::to_string(count)};
    return gpu;
  }

  // ---- failures ----

  /// Throws what a kernel of the group has reported, and remembers it.
  template <class Describe>
  void throw_if_reported(const ipc_group& group, Describe describe_call) {
    const device::failure_report found = group.report();
    if (found.word == device::failure_report::free && found.stopped == 0) return;
    kind_ = found.kind;
    failed_ = found.word == device::failure_report::free
                  ? "collective #" + std::to_string(number_) + ": rank " +
                        std::to_string(found.stopped - 1) + " gives up" + why_
                  : describe_call(found.call) + ": " + words_of(found);
    throw_if_failed();
  }
  void throw_if_failed() const {
    if (failed_.empty()) return;
    const std::string text = "allfold: rank " + std::to_string(rank_) + ", " + failed_;
    if (kind_ == device::failure_kind::timeout) throw timeout_error{text};
    if (kind_ == device::failure_kind::mismatch) throw mismatch_error{text};
    throw usage_error{text};
  }

  int rank_, size_, gpu_;
  exchange_bytes exchange_;
  process_options options_;
  bool is_companion_ = false;
  device_scope current_;
  std::shared_ptr<arena> arena_;
  std::shared_ptr<ipc_group> group_;
  std::vector<std::weak_ptr<ipc_group>> companions_;
  allfold::cuda::stream own_stream_;
  cudaStream_t stream_ = own_stream_.get();
  std::uint64_t number_ = 0;
  call_log calls_;
  std::string failed_, why_;
  device::failure_kind kind_ = device::failure_kind::none;
};

}  // namespace allfold::cuda
