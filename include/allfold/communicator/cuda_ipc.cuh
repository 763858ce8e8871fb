// What ranks that are processes reach of each other's GPUs, by CUDA IPC.
#pragma once

#include <allfold/communicator/cuda_arena.cuh>
#include <allfold/communicator/cuda_launch.cuh>
#include <allfold/communicator/exchange_bytes.hpp>

namespace allfold::cuda {

using allfold::exchange_bytes;

/// Every rank's `mine`, by rank. Every rank calls it.
template <class T>
std::vector<T> gathered(const exchange_bytes& exchange, int size, const T& mine) {
  std::vector<T> all(static_cast<std::size_t>(size));
  exchange(&mine, sizeof(T), all.data());
  return all;
}

/// One rank's counters, slots and report, and its ways to those of the others and to their arenas.
class ipc_group {
 public:
  /// Every rank makes one, on its GPU, which is the current one. `beside`: whose companion's it is,
  /// which has the same arena. Throws usage_error if two ranks share a GPU.
  ipc_group(int rank, int size, int gpu, exchange_bytes exchange, arena& memory,
            const ipc_group* beside)
      : rank_{rank},
        exchange_{std::move(exchange)},
        states_{static_cast<std::size_t>(tuning::most_lanes)},
        slots_{2 * static_cast<std::size_t>(size) * slot_words},
        report_{1} {
    all_.size = size;
    all_.slot_words = slot_words;
    clear(states_);
    clear(slots_);
    clear(report_);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    const std::vector<card> cards = gathered(exchange_, size, own_card(gpu, memory, beside));
    for (int peer = 0; peer < size; ++peer) take_card(cards, peer, beside);
    gathered(exchange_, size, rank_);  // nobody starts before all are connected
  }
  ipc_group(const ipc_group&) = delete;
  ipc_group& operator=(const ipc_group&) = delete;
  /// Waits for the other ranks, which may still look at this one's counters.
  ~ipc_group() {
    try {
      gathered(exchange_, all_.size, rank_);
    } catch (const std::exception&) {  // they are gone: nobody looks
    }
    for (void* each : opened_) cudaIpcCloseMemHandle(each);
  }

  const device::group& all() const { return all_; }
  /// That all GPUs hold at once.
  int lanes() const { return lanes_; }
  /// What kernels have found so far. Waits for the copy.
  device::failure_report report() const {
    device::failure_report found{};
    check(cudaMemcpy(&found, all_.failure, sizeof found, cudaMemcpyDefault), "cudaMemcpy");
    return found;
  }
  void be_patient_for(std::chrono::nanoseconds limit) {
    all_.patience = static_cast<std::uint64_t>(limit.count());
  }

 private:
  static constexpr std::size_t slot_words = tuning::shot_bytes / sizeof(std::uint32_t) + 64;

  template <class T>
  static void clear(device_buffer<T>& memory) {
    check(cudaMemset(memory.data(), 0, memory.size() * sizeof(T)), "cudaMemset");
  }
  /// What a rank shows the others of itself.
  struct card {
    cudaUUID_t gpu;
    int lanes;
    std::byte* arena;
    cudaIpcMemHandle_t states, slots, report, memory;
  };
  card own_card(int gpu, arena& memory, const ipc_group* beside) {
    card own{};
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, gpu), "cudaGetDeviceProperties");
    own.gpu = properties.uuid;
    own.lanes = std::min(tuning::most_lanes, blocks_for(beside != nullptr, blocks_of_gpu(gpu), 1));
    own.arena = memory.data();
    const auto handle_of = [](void* at) {
      cudaIpcMemHandle_t handle{};
      check(cudaIpcGetMemHandle(&handle, at), "cudaIpcGetMemHandle");
      return handle;
    };
    own.states = handle_of(states_.data());
    own.slots = handle_of(slots_.data());
    own.report = handle_of(report_.data());
    if (beside == nullptr) own.memory = handle_of(memory.data());
    return own;
  }
  void take_card(const std::vector<card>& cards, int peer, const ipc_group* beside) {
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
    // A companion's arena is open already, and may be opened once only.
    all_.shifts[peer] = beside != nullptr
                            ? beside->all_.shifts[peer]
                            : reinterpret_cast<std::intptr_t>(open<std::byte>(its.memory)) -
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

  int rank_;
  exchange_bytes exchange_;
  device_buffer<device::lane_state> states_;
  device_buffer<std::uint64_t> slots_;
  device_buffer<device::failure_report> report_;
  std::vector<void*> opened_;
  device::group all_{};
  int lanes_ = tuning::most_lanes;
};

}  // namespace allfold::cuda
