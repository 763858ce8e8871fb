// Ranks by processes::communicator, here each on a thread that has mapped the shared memory for
// itself: what processes do, but for dying alone. Operands lie in the shared memory or elsewhere by
// turns, and elsewhere is reached in one copy or through the shared memory by turns.
#pragma once

#include <algorithm>
#include <allfold/communicator/processes.hpp>
#include <allfold/launch/spawn.hpp>
#include <atomic>
#include <mutex>
#include <optional>

namespace test {

using world = allfold::processes::communicator;

/// The rank that this thread is, for operands in its memory.
inline thread_local world* own_world = nullptr;

/// Gives all threads all threads' bytes.
class thread_exchange {
 public:
  explicit thread_exchange(allfold::threads::communicator& ranks) : ranks_{ranks} {}
  void operator()(const void* mine, std::size_t size, void* all) {
    const auto* const own = static_cast<const std::byte*>(mine);
    auto* to = static_cast<std::byte*>(all);
    for (const std::byte* const from : ranks_.gather(own)) to = std::copy_n(from, size, to);
    ranks_.meet();
  }

 private:
  allfold::threads::communicator& ranks_;
};

/// Runs body(world&) on so many ranks.
template <class Body>
void run_world(int ranks, Body body, allfold::processes::options how) {
  allfold::spawn(ranks, [&](allfold::threads::communicator& threads) {
    world mine{threads.rank(), threads.size(), thread_exchange{threads}, how};
    own_world = &mine;
    try {
      body(mine);
    } catch (...) {
      mine.leave_with(std::current_exception());
      throw;
    }
    own_world = nullptr;
  });
}
template <class Body>
void run_world(int ranks, Body body) {
  using allfold::processes::copying;
  static int turn = 0;
  run_world(ranks, body,
            {.timeout = std::chrono::minutes{2},
             .arena_bytes = std::size_t{64} << 20,
             .copying = turn++ % 2 == 0 ? copying::once : copying::through_region});
}

/// Where ranks work on some bytes: right there, or in shared memory.
class workplace {
 public:
  explicit workplace(bytes& image) : image_{image} {
    static std::atomic<unsigned> turn{0};
    if (turn++ % 3 == 0) return;  // three, so that the ranks of one call differ
    shared_ = own_world->allocate<std::byte>(image.size());
    std::copy(image.begin(), image.end(), shared_->begin());
  }
  std::byte* data() { return shared_ ? shared_->data() : image_.data(); }
  /// Brings the bytes back, once what the rank has called is complete.
  void fetch(world&) {
    if (shared_) std::copy(shared_->begin(), shared_->end(), image_.begin());
  }

 private:
  bytes& image_;
  std::optional<allfold::processes::shared_array<std::byte>> shared_;
};

}  // namespace test
