// How a thread waits for another: spin first, yield next, sleep last.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>

namespace allfold {

/// Tells the processor that a loop is polling.
inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ __volatile__("yield");
#endif
}

/// One wait's patience. Spinning is fastest while every rank has a core; where there are more ranks
/// than cores the awaited rank can only run if this one yields, so hardly any spinning is done; and
/// whoever waits for long sleeps, so that a rank that comes late costs no core meanwhile.
/// Nobody is ever woken: sleepers look again by themselves, so publishing costs one store.
class patience {
 public:
  using clock = std::chrono::steady_clock;

  /// `crowded`: there are more ranks than cores.
  patience(bool crowded, clock::duration limit)
      : spins_{crowded ? 32u : 4096u}, limit_{limit}, until_{limit} {}

  /// Passes a moment; called after each look that found nothing. True every so often: time for
  /// looks that cost more.
  bool pass() {
    ++looks_;
    if (looks_ <= spins_) {
      relax();
      return looks_ % 256 == 0;
    }
    if (looks_ <= spins_ + yields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(nap_);
      if (nap_ < longest_nap) nap_ *= 2;
    }
    return true;
  }
  /// True once the limit is over. The clock starts with the first call. Of a pause between two
  /// calls no more than a second counts: longer ones are not waits but a process that was stopped,
  /// with its whole job perhaps, and then nobody is late.
  bool expired() {
    const auto now = clock::now();
    if (last_ != clock::time_point{})
      waited_ += std::min<clock::duration>(now - last_, longest_gap);
    last_ = now;
    return waited_ >= until_;
  }
  /// To be called once it is: lets the wait last a tenth longer. False if it has lasted for twice
  /// the limit already.
  bool put_off() {
    until_ = std::min(waited_ + limit_ / 10, 2 * limit_);
    return waited_ < 2 * limit_;
  }
  /// How long is waited in all, as things are.
  clock::duration limit() const { return until_; }
  /// When `expired` was asked last.
  clock::time_point now() const { return last_; }

 private:
  static constexpr std::uint32_t yields = 2048;
  static constexpr std::chrono::microseconds longest_nap{500};
  static constexpr std::chrono::seconds longest_gap{1};

  std::uint32_t looks_ = 0;
  std::uint32_t spins_;
  std::chrono::microseconds nap_{20};
  clock::duration limit_, until_;
  clock::duration waited_{};
  clock::time_point last_{};
};

/// Lets something be done now and then, by the clock: on a busy machine the moments between two
/// looks are long.
class now_and_then {
 public:
  explicit now_and_then(patience::clock::duration pause) : pause_{pause} {}
  /// True the first time, and then after each pause.
  bool is_due(patience::clock::time_point now) {
    if (done_ != patience::clock::time_point{} && now - done_ < pause_) return false;
    done_ = now;
    return true;
  }

 private:
  patience::clock::duration pause_;
  patience::clock::time_point done_{};
};

}  // namespace allfold
