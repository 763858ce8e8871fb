// Ranks that work on GPUs, each a thread of this process: on several GPUs, or several on one.
#pragma once

#include <allfold/communicator/cuda_launch.cuh>
#include <allfold/communicator/cuda_team.cuh>
#include <allfold/communicator/threads.hpp>

namespace allfold::cuda {

/// A rank's communicator on a GPU. Used by its own thread. Collectives are given to the rank's
/// stream and return when all ranks have called; they are complete when the stream has come so far.
///
/// Ranks on different GPUs reach each other's memory directly (peer access). Ranks on the same GPU
/// ("virtual ranks") are launched together by the first of them. Any device memory of the ranks'
/// GPUs can be an operand.
///
/// Calls are checked on the host, where all ranks meet, as threads::communicator does. Kernels
/// watch a time limit besides: what they find is thrown by the next collective or `synchronize`.
///
/// `Scope` is gpu_scope if all ranks share one GPU, else system_scope, which is always right.
template <::cuda::thread_scope Scope = system_scope>
class communicator {
 public:
  static constexpr memory_space space = memory_space::device;
  static constexpr std::size_t small_bytes = tuning::shot_bytes;
  /// How long a chunk of a piece is, of `chunks` chunks.
  static constexpr std::size_t piece_bytes(int size, int chunks) {
    return piece_bytes_for(Scope == gpu_scope ? size : 1, chunks);
  }

  /// Every rank of `control` calls it, with the number of its GPU.
  communicator(threads::communicator control, int gpu,
               std::source_location where = std::source_location::current())
      : communicator{std::move(control), gpu, false, where} {}
  communicator(communicator&&) = default;
  communicator& operator=(communicator&&) = delete;
  /// Waits for the rank's stream; for all ranks' if this is a companion that has failed.
  ~communicator() {
    if (!shared_) return;
    if (is_companion_ && (shared_->reported() || shared_->stopped()))
      shared_->rest();
    else
      cudaStreamSynchronize(stream());
  }

  int rank() const { return control_.rank(); }
  int size() const { return control_.size(); }
  int gpu() const { return gpu_; }

  /// The stream that collectives are given to.
  cudaStream_t stream() const { return shared_->of(rank()).current_stream; }
  /// Takes a stream of the caller's from now on. What is given to it waits for the collectives that
  /// the former stream holds, so that they stay in order.
  void use_stream(cudaStream_t stream) {
    const device_scope current{gpu_};
    team_member& own = shared_->of(rank());
    own.done.record(own.current_stream);
    own.done.hold_back(stream);
    own.current_stream = stream;
  }
  /// A mark for streams of this rank's GPU.
  std::unique_ptr<stream_mark> mark() const { return std::make_unique<event_mark>(gpu_); }
  /// Waits until all collectives are complete. Throws if one has failed, or one of a companion's
  /// kernels.
  void synchronize() {
    check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
    throw_if_failed();
    for (const std::weak_ptr<team>& each : companions_)
      if (const std::shared_ptr<team> its = each.lock(); its && its->reported())
        throw_report(*its->report(),
                     "collective #" + std::to_string(its->report()->call) + " of a companion");
  }

  /// Fails the whole team: ranks get a usage_error with this text, kernels give up.
  void abort(const std::string& why) {
    control_.abort(why);  // first, so that nobody hears of stopped kernels before the cause
    shared_->stop_kernels();
  }

  /// Fails the whole team because this rank leaves with an exception.
  void leave_with(const std::exception_ptr& thrown) {
    control_.leave_with(thrown);
    shared_->stop_kernels();
  }

  /// The ranks' threads, for what the host does.
  threads::communicator& control() { return control_; }

  /// How the ranks' streams come together in rank 0's: they wait for each other before and after
  /// the work, or on one side of it only.
  enum class meeting { joins_and_parts, joins, parts };

  /// Has rank 0's thread give `work(stream)` to rank 0's stream on behalf of all ranks. Every rank
  /// calls it and returns when that is done. An engine's own work can be given so as well.
  template <class Work>
  void in_one_stream(Work work, std::source_location where = std::source_location::current(),
                     meeting how = meeting::joins_and_parts) {
    throw_if_failed();
    control_.meet(where);
    if (rank() == 0) {
      const cudaStream_t own = stream();
      const auto for_others = [&](auto visit) {
        for (int peer = 1; peer < size(); ++peer) {
          const device_scope current{shared_->of(peer).gpu};
          visit(shared_->of(peer));
        }
      };
      if (how != meeting::parts)
        for_others([&](team_member& other) {
          other.ready.record(other.current_stream);
          other.ready.hold_back(own);
        });
      work(own);
      if (how != meeting::joins) {
        shared_->of(0).done.record(own);
        for_others(
            [&](team_member& other) { shared_->of(0).done.hold_back(other.current_stream); });
      }
    }
    control_.meet(where);
  }

  /// Divides the ranks into teams as threads::communicator::split does; everyone stays on its GPU.
  communicator split(int color, int key = 0,
                     std::source_location where = std::source_location::current()) {
    return {control_.split(color, key, where), gpu_, where};
  }

  /// The same ranks once more, for a second thread of each: with a stream of its own, whose kernels
  /// go first and leave most of the GPU to others. Every rank calls it. A failure of one is its
  /// own, but what a companion's kernels find is thrown by this one's `synchronize` too.
  communicator companion(std::source_location where = std::source_location::current()) {
    communicator made{control_.companion(where), gpu_, true, where};
    std::erase_if(companions_, [](const auto& each) { return each.expired(); });
    companions_.push_back(made.shared_);
    return made;
  }

  /// Every rank's number, by rank.
  std::vector<std::uint64_t> gather_numbers(
      std::uint64_t mine, std::source_location where = std::source_location::current()) {
    return control_.gather(mine, where);
  }

  /// Multiplies elements on this rank's GPU, in the rank's stream.
  template <class T>
  void multiply(device_span<T> elements, double factor) {
    const device_scope current{gpu_};
    scale(elements, factor, stream());
  }

  /// Carries out a schedule with the other ranks; see threads::communicator::run.
  template <class T, class Schedule, class Operation>
  void run(const Schedule& plan, const threads::operands& memory, const partition& parts,
           const Operation& operation, const call& said) {
    throw_if_failed();
    const device_scope current{gpu_};
    const std::uint64_t number = control_.number();
    calls_.note(said, number);
    team_member& own = shared_->of(rank());
    own.brought = {rank(), static_cast<std::byte*>(const_cast<void*>(memory.input)),
                   static_cast<std::byte*>(memory.output), scratch(memory.scratch_bytes)};
    control_.meet(said);
    if (shared_->leader_of(rank()) == rank())
      launch_for_all<T>(plan, parts, operation, said, number);
    else
      await_launch(number, said);
  }

 private:
  // ---- made once ----

  communicator(threads::communicator control, int gpu, bool is_companion,
               std::source_location where)
      : control_{std::move(control)}, gpu_{gpu}, is_companion_{is_companion} {
    insist_on(objection_to(gpu, size()), where);
    const device_scope current{gpu};
    const std::vector<int> gpus = control_.gather(gpu, where);
    const auto here = static_cast<int>(std::count(gpus.begin(), gpus.end(), gpu));
    if (here > blocks_of_gpu(gpu)) give_up("too many ranks share a GPU", where);
    std::shared_ptr<team> made;
    if (rank() == 0) made = std::make_shared<team>(size());
    const auto theirs = control_.gather(&made, where);
    shared_ = *theirs[0];
    shared_->seat(rank()).emplace(size(), gpu, blocks_for(is_companion, blocks_of_gpu(gpu), here),
                                  is_companion ? priority::first : priority::normal);
    insist_on(objection_to_peers(gpu, gpus, Scope != system_scope), where);
    control_.meet(where);  // all seats are taken, and nobody's `made` goes before
    describe_group();
  }
  /// Gives up if there is an objection.
  void insist_on(const std::string& objection, std::source_location where) {
    if (!objection.empty()) give_up(objection, where);
  }
  [[noreturn]] void give_up(const std::string& what, std::source_location where) {
    const std::string text = "cuda::communicator at " + place_of(where) + ": " + what;
    control_.abort(text);
    throw usage_error{"allfold: rank " + std::to_string(rank()) + ", " + text};
  }
  void describe_group() {
    all_.size = size();
    for (int peer = 0; peer < size(); ++peer) {
      all_.states[peer] = shared_->of(peer).states.data();
      all_.slots[peer] = shared_->of(peer).slots.data();
    }
    all_.slot_words = team_member::slot_words;
    all_.failure = shared_->report();
    all_.patience = static_cast<std::uint64_t>(
        std::chrono::nanoseconds{control_.shared()->options().timeout}.count());
  }

  // ---- for each collective ----

  /// Memory for the largest call so far. The former are kept: kernels that have been launched, or
  /// recorded in a graph, may still use them.
  std::byte* scratch(std::size_t bytes) {
    if (bytes == 0) return nullptr;
    if (scratch_.empty() || bytes > scratch_.back().size())
      scratch_.emplace_back(std::max(bytes, scratch_.empty() ? 0 : 2 * scratch_.back().size()));
    return scratch_.back().data();
  }
  void await_launch(std::uint64_t number, const call& said) {
    const std::atomic<std::uint64_t>& launched = shared_->of(shared_->leader_of(rank())).launched;
    patience waiting{control_.shared()->options().crowded, {}};
    while (launched.load(std::memory_order_acquire) <= number) {
      waiting.pass();
      if (control_.shared()->failed())
        control_.shared()->throw_failure(rank(), describe(said, number));
    }
  }

  /// Launches for all ranks on this GPU. Their streams meet in this rank's and part again.
  template <class T, class Schedule, class Operation>
  void launch_for_all(const Schedule& plan, const partition& parts, const Operation& operation,
                      const call& said, std::uint64_t number) {
    try {
      auto told = launch_of<T>(plan, parts, operation, said, number, all_);
      team_member& own = shared_->of(rank());
      const auto for_others = [&](auto visit) {
        for (int peer = rank() + 1; peer < size(); ++peer)
          if (shared_->of(peer).gpu == gpu_) visit(shared_->of(peer));
      };
      device::seat(told, own.brought);
      for_others([&](team_member& other) {
        device::seat(told, other.brought);
        other.ready.record(other.current_stream);
        other.ready.hold_back(own.current_stream);
      });
      start<T, Scope>(told, shared_->most_lanes(plan), said.count, own.current_stream);
      if (told.here > 1) own.done.record(own.current_stream);
      for_others([&](team_member& other) { own.done.hold_back(other.current_stream); });
      own.launched.store(number + 1, std::memory_order_release);
    } catch (const std::exception& thrown) {
      control_.abort(describe(said, number) + " could not be launched: " + thrown.what());
      shared_->stop_kernels();
      throw;
    }
  }

  // ---- failures ----

  /// Throws what a kernel has reported, or why the kernels were stopped.
  void throw_if_failed() {
    if (!shared_->reported() && !shared_->stopped()) [[likely]]
      return;
    shared_->rest();
    if (!shared_->reported()) {
      control_.shared()->fail(threads::failure_kind::misuse, -1, "the kernels were stopped");
      control_.shared()->throw_failure(rank(), "collective #" + std::to_string(control_.number()));
    }
    const device::failure_report& it = *shared_->report();
    throw_report(it, calls_.describe(it.call));
  }
  /// Fails the team by what a kernel has found in the call `mine`, and throws it.
  [[noreturn]] void throw_report(const device::failure_report& it, const std::string& mine) {
    const auto kind = it.kind == device::failure_kind::timeout ? threads::failure_kind::timeout
                                                               : threads::failure_kind::mismatch;
    control_.shared()->fail(kind, it.rank, words_of(it));
    control_.shared()->throw_failure(rank(), mine);
  }

  threads::communicator control_;
  int gpu_;
  bool is_companion_;
  std::shared_ptr<team> shared_;
  std::vector<std::weak_ptr<team>> companions_;
  device::group all_{};
  std::vector<device_buffer<std::byte>> scratch_;
  call_log calls_;
};

}  // namespace allfold::cuda
