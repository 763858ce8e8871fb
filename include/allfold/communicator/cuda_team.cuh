// What the ranks of one process that work on GPUs share.
#pragma once

#include <algorithm>
#include <allfold/communicator/cuda_runtime.cuh>
#include <allfold/communicator/cuda_tuning.hpp>
#include <allfold/execution/device_rest.hpp>
#include <atomic>
#include <memory>
#include <optional>

namespace allfold::cuda {

/// One rank's part, on its device. Made by the rank's own thread.
struct team_member {
  team_member(int size, int on_gpu, int blocks_there, priority of_stream)
      : gpu{on_gpu},
        blocks{blocks_there},
        states(static_cast<std::size_t>(tuning::most_lanes)),
        slots(2 * static_cast<std::size_t>(size) * slot_words),
        own_stream{of_stream} {
    check(cudaMemset(states.data(), 0, states.size() * sizeof(device::lane_state)), "cudaMemset");
    check(cudaMemset(slots.data(), 0, slots.size() * sizeof(std::uint64_t)), "cudaMemset");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    current_stream = own_stream.get();
  }

  /// Words that a rank may send to another in one shot; some more than the bytes, for elements
  /// whose size is odd.
  static constexpr std::size_t slot_words =
      tuning::shot_bytes / sizeof(std::uint32_t) + tuning::shot_bytes / 256;
  static_assert(slot_words <= 16384);  // see device::lane_shot

  int gpu;
  int blocks;  ///< that the team's ranks on this GPU may take together
  device_buffer<device::lane_state> states;
  device_buffer<std::uint64_t> slots;
  stream own_stream;
  event ready, done;
  cudaStream_t current_stream;             ///< that the rank's collectives are given to
  device::member brought{};                ///< to the collective that it has entered
  std::atomic<std::uint64_t> launched{0};  ///< collectives that this rank has launched for others
};

/// All ranks. Freed by the last of them, after all of their streams have come to rest.
class team {
 public:
  explicit team(int size) : members_(static_cast<std::size_t>(size)) {}

  int size() const { return static_cast<int>(members_.size()); }
  std::optional<team_member>& seat(int rank) { return members_[static_cast<std::size_t>(rank)]; }
  team_member& of(int rank) { return *seat(rank); }
  device::failure_report* report() const { return report_.get(); }
  /// True if a kernel has found a failure, and has written all of the report.
  bool reported() const {
    return std::atomic_ref{report_.get()->word}.load(std::memory_order_acquire) !=
           device::failure_report::free;
  }
  /// True if kernels were told to give up.
  bool stopped() const {
    return std::atomic_ref{report_.get()->stopped}.load(std::memory_order_acquire) != 0;
  }
  void stop_kernels() {
    std::atomic_ref{report_.get()->stopped}.store(1, std::memory_order_release);
  }
  /// Waits for the streams that ranks give their collectives to. Kernels may still use the memory
  /// of whoever is told of a failure, and frees it next.
  void rest() {
    for (auto& each : members_) cudaStreamSynchronize(each->current_stream);
  }

  /// The first rank on the same device: it launches for all of them.
  int leader_of(int rank) {
    int leader = 0;
    while (of(leader).gpu != of(rank).gpu) ++leader;
    return leader;
  }

  /// How many lanes all GPUs can hold, of their ranks that do not rest; the same on all ranks.
  template <class Schedule>
  int most_lanes(const Schedule& plan) {
    const auto rests = [&](int peer) {
      return device::has_resting_ranks<Schedule> && device::rests(plan, peer, size());
    };
    int most = tuning::most_lanes;
    for (int first = 0; first < size(); ++first) {
      if (leader_of(first) != first) continue;
      int working = 0, resting = 0;
      for (int peer = first; peer < size(); ++peer)
        if (of(peer).gpu == of(first).gpu) ++(rests(peer) ? resting : working);
      if (working > 0) most = std::min(most, (of(first).blocks - resting) / working);
    }
    return most;
  }

 private:
  std::vector<std::optional<team_member>> members_;
  mapped<device::failure_report> report_;
};

}  // namespace allfold::cuda
