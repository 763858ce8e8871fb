// What a rank has spent on a step, and on what.
#pragma once

#include <chrono>
#include <cstdint>
#include <utility>

namespace allfold {

/// The time of a rank's thread: of the forward and backward passes since the step before, and of
/// `step`. It is the host's. For models in a device's memory it says how long work took to be given
/// to the device, which may still be at it afterwards: what a device does and when is for its own
/// profiler to tell.
struct step_times {
  using duration = std::chrono::nanoseconds;

  duration forward{};   ///< in the engine's forward pass, where the replica's `forward` runs it
  duration backward{};  ///< in the engine's backward pass, what it calls there included
  duration step{};      ///< in the optimizer
  duration communication{};  ///< in collectives, waiting for other ranks included: all of it
  duration exposed{};        ///< of that, what no computation hides: outside the engine's passes
  /// Bytes that this rank brought to collectives for its gradients: what was left of them where
  /// they are compressed. Passes that reduce nothing add none.
  std::uint64_t bytes = 0;

  duration computation() const { return forward + backward + step; }
};

namespace detail {

/// Adds the time that it lives to a total.
class stopwatch {
 public:
  explicit stopwatch(step_times::duration& total) : total_{total} {}
  stopwatch(const stopwatch&) = delete;
  stopwatch& operator=(const stopwatch&) = delete;
  ~stopwatch() { total_ += std::chrono::steady_clock::now() - begin_; }

 private:
  step_times::duration& total_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// Times from the first pass of a step until the next step's first.
class step_clock {
 public:
  step_times times;

  /// A forward or backward pass begins.
  void begin_pass() {
    if (!std::exchange(in_step_, true)) times = {};
  }
  /// The next pass is another step's.
  void end_passes() { in_step_ = false; }
  /// Does what no computation hides.
  template <class Work>
  void communicate(Work work) {
    step_times::duration taken{};
    {
      const stopwatch counting{taken};
      work();
    }
    times.communication += taken;
    times.exposed += taken;
  }

 private:
  bool in_step_ = false;
};

}  // namespace detail
}  // namespace allfold
