// Ranks that are processes of one machine, each with a GPU of its own, which reach each other's
// memory by CUDA IPC.
#pragma once

#include <allfold/communicator/concepts.hpp>
#include <allfold/communicator/cuda_arena.cuh>
#include <allfold/communicator/cuda_launch.cuh>
#include <allfold/communicator/exchange_bytes.hpp>
#include <allfold/communicator/threads.hpp>
#include <array>

namespace allfold::cuda {

using allfold::exchange_bytes;

/// What a process_communicator may be told.
struct process_options {
  /// Bytes of device memory that all ranks can reach. Operands in it (see `allocate`) are used
  /// where they are; others are copied into it and back.
  std::size_t arena_bytes = std::size_t{1} << 30;
  /// The part of it that is for such copies, and for the library's scratch memory.
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
        gpu_{gpu},
        exchange_{std::move(exchange)},
        options_{options},
        current_{checked(rank, size, gpu)},
        states_{size_of_states()},
        slots_{2 * static_cast<std::size_t>(size) * slot_words},
        report_{1},
        arena_{options.arena_bytes, options.staging_bytes} {
    all_.size = size;
    all_.slot_words = slot_words;
    all_.patience = static_cast<std::uint64_t>(options.timeout.count());
    clear(states_);
    clear(slots_);
    clear(report_);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    meet_others();
  }
  process_communicator(const process_communicator&) = delete;
  process_communicator& operator=(const process_communicator&) = delete;
  /// Waits for the rank's stream, and for the other ranks, which may still look at its counters.
  ~process_communicator() {
    cudaStreamSynchronize(stream_);
    try {
      gather(rank_);
    } catch (const std::exception&) {  // they are gone: nobody looks
    }
    for (void* each : opened_) cudaIpcCloseMemHandle(each);
  }

  int rank() const { return rank_; }
  int size() const { return all_.size; }
  int gpu() const { return gpu_; }
  cudaStream_t stream() const { return stream_; }

  /// `count` elements of the arena, until the communicator goes. Throws usage_error if there are
  /// not so many left.
  template <class T>
  device_span<T> allocate(std::size_t count) {
    T* const elements = arena_.take<T>(count);
    if (elements == nullptr)
      throw usage_error{"allfold: rank " + std::to_string(rank_) + ": " + std::to_string(count) +
                        " elements of " + std::to_string(sizeof(T)) +
                        " bytes do not fit what is left of an arena of " +
                        std::to_string(arena_.bytes()) + " bytes (arena_bytes)"};
    return {elements, count};
  }

  /// Waits until all collectives are complete. Throws if one has failed.
  void synchronize() {
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    device::failure_report found{};
    check(cudaMemcpy(&found, all_.failure, sizeof found, cudaMemcpyDefault), "cudaMemcpy");
    if (found.word == device::failure_report::free && found.stopped == 0) return;
    kind_ = found.kind;
    failed_ = found.word == device::failure_report::free
                  ? "collective #" + std::to_string(number_) + ": rank " +
                        std::to_string(found.stopped - 1) + " gives up" + why_
                  : describe_call(found.call) + ": " + words_of(found);
    throw_if_failed();
  }
  /// Makes the kernels of all ranks give up. The others learn who, not why.
  void abort(const std::string& why) {
    why_ = ": " + why;
    const auto who = static_cast<std::uint32_t>(rank_ + 1);
    allfold::cuda::stream aside;  // the rank's own may wait for a kernel that is to be stopped
    check(cudaMemcpyAsync(&all_.failure->stopped, &who, sizeof who, cudaMemcpyDefault, aside.get()),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(aside.get()), "cudaStreamSynchronize");
  }

  std::vector<std::uint64_t> gather_numbers(std::uint64_t mine, std::source_location = {}) {
    return gather(mine);
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
    calls_[number_ % calls_.size()] = said;
    const extents lengths = extents_of(Schedule::kind, root_of(plan), parts, sizeof(T));
    staging place{arena_, stream_};
    device::member mine{rank_, nullptr, nullptr, nullptr};
    mine.input = place.reachable(memory.input, lengths.input);
    mine.output =
        memory.input == memory.output ? mine.input : place.reachable(memory.output, lengths.output);
    mine.scratch = place.take(memory.scratch_bytes);
    require_room(place, said);
    auto told = launch_of<T>(plan, parts, operation, said, number_, all_);
    device::seat(told, mine);
    start<T, system_scope>(told, lanes_, said.count, stream_);
    const bool stays = memory.input == memory.output;
    place.bring_back(memory.output, mine.output, stays ? lengths.input : lengths.output);
    ++number_;
  }

 private:
  static constexpr std::size_t slot_words = tuning::shot_bytes / sizeof(std::uint32_t) + 64;

  /// Bytes of this rank's operands.
  struct extents {
    std::size_t input, output;
  };
  extents extents_of(collective kind, int root, const partition& parts, std::size_t size) const {
    const std::size_t whole = parts.begin(parts.chunks(), parts.pieces() - 1) * size;
    const std::size_t own = parts.chunks() == all_.size ? parts.of(rank_, 1, 0).count * size : 0;
    const bool gives =
        (kind != collective::broadcast && kind != collective::scatter) || rank_ == root;
    const bool gets = (kind != collective::reduce && kind != collective::gather) || rank_ == root;
    return {!gives                                 ? 0
            : holds_own_chunk(kind, buffer::input) ? own
                                                   : whole,
            !gets                                   ? 0
            : holds_own_chunk(kind, buffer::output) ? own
                                                    : whole};
  }

  void require_room(const staging& place, const call& said) const {
    if (place.used() <= arena_.staging_bytes()) return;
    throw usage_error{"allfold: rank " + std::to_string(rank_) + ", " + describe(said, number_) +
                      ": needs " + std::to_string(place.used()) +
                      " bytes for copies and scratch memory, of " +
                      std::to_string(arena_.staging_bytes()) +
                      " (staging_bytes); operands from allocate() need no copies"};
  }

  // ---- made once ----

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
  static std::size_t size_of_states() { return static_cast<std::size_t>(tuning::most_lanes); }
  template <class T>
  static void clear(device_buffer<T>& memory) {
    check(cudaMemset(memory.data(), 0, memory.size() * sizeof(T)), "cudaMemset");
  }
  template <class T>
  std::vector<T> gather(const T& mine) {
    std::vector<T> all(static_cast<std::size_t>(all_.size));
    exchange_(&mine, sizeof(T), all.data());
    return all;
  }

  /// What a rank shows the others of itself.
  struct card {
    cudaUUID_t gpu;
    int lanes;
    std::byte* arena;
    cudaIpcMemHandle_t states, slots, report, memory;
  };
  void meet_others() {
    card own{};
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, gpu_), "cudaGetDeviceProperties");
    own.gpu = properties.uuid;
    own.lanes = std::min(tuning::most_lanes, blocks_of_gpu(gpu_));
    own.arena = arena_.data();
    const auto handle_of = [](void* memory) {
      cudaIpcMemHandle_t handle{};
      check(cudaIpcGetMemHandle(&handle, memory), "cudaIpcGetMemHandle");
      return handle;
    };
    own.states = handle_of(states_.data());
    own.slots = handle_of(slots_.data());
    own.report = handle_of(report_.data());
    own.memory = handle_of(arena_.data());
    const std::vector<card> cards = gather(own);
    lanes_ = own.lanes;
    for (int peer = 0; peer < all_.size; ++peer) take_card(cards, peer);
    gather(rank_);  // nobody starts before all are connected
  }
  void take_card(const std::vector<card>& cards, int peer) {
    const card& its = cards[static_cast<std::size_t>(peer)];
    lanes_ = std::min(lanes_, its.lanes);
    if (peer == rank_) {
      all_.states[peer] = states_.data();
      all_.slots[peer] = slots_.data();
      if (peer == 0) all_.failure = report_.data();
      return;
    }
    const card& own = cards[static_cast<std::size_t>(rank_)];
    if (std::equal(std::begin(its.gpu.bytes), std::end(its.gpu.bytes), std::begin(own.gpu.bytes)))
      throw usage_error{"allfold: ranks " + std::to_string(rank_) + " and " + std::to_string(peer) +
                        " are processes on the same GPU, where their kernels would wait for each "
                        "other without running; use threads of one process"};
    all_.states[peer] = open<device::lane_state>(its.states);
    all_.slots[peer] = open<std::uint64_t>(its.slots);
    if (peer == 0) all_.failure = open<device::failure_report>(its.report);
    all_.shifts[peer] = reinterpret_cast<std::intptr_t>(open<std::byte>(its.memory)) -
                        reinterpret_cast<std::intptr_t>(its.arena);
  }
  template <class T>
  T* open(const cudaIpcMemHandle_t& handle) {
    void* memory = nullptr;
    check(cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess),
          "cudaIpcOpenMemHandle");
    opened_.push_back(memory);
    return static_cast<T*>(memory);
  }

  // ---- failures ----

  std::string describe_call(std::uint64_t number) const {
    const call& said = calls_[number % calls_.size()];
    return said.kind == nullptr ? "collective #" + std::to_string(number) : describe(said, number);
  }
  void throw_if_failed() const {
    if (failed_.empty()) return;
    const std::string text = "allfold: rank " + std::to_string(rank_) + ", " + failed_;
    if (kind_ == device::failure_kind::timeout) throw timeout_error{text};
    if (kind_ == device::failure_kind::mismatch) throw mismatch_error{text};
    throw usage_error{text};
  }

  int rank_;
  int gpu_;
  exchange_bytes exchange_;
  process_options options_;
  device_scope current_;
  device_buffer<device::lane_state> states_;
  device_buffer<std::uint64_t> slots_;
  device_buffer<device::failure_report> report_;
  arena arena_;
  allfold::cuda::stream own_stream_;
  cudaStream_t stream_ = own_stream_.get();
  std::vector<void*> opened_;
  device::group all_{};
  int lanes_ = 0;
  std::uint64_t number_ = 0;
  std::array<call, 64> calls_{};  ///< the last ones, for messages
  std::string failed_, why_;
  device::failure_kind kind_ = device::failure_kind::none;
};

}  // namespace allfold::cuda
