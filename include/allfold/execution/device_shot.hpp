// Short messages on a device, in one hop: every rank pushes its elements into slots of all others,
// each word together with a flag that says whose turn it is, and nobody waits to leave.
// The protocol is the one that NCCL calls LL (low latency).
#pragma once

#include <allfold/execution/device.hpp>

namespace allfold::device {

/// Bytes of elements that a word carries; its other half is the flag.
inline constexpr std::size_t bytes_per_word = 4;

/// As many elements as fill whole words, and those words.
template <class T>
struct word_unit {
  static constexpr std::size_t words = sizeof(T) % bytes_per_word == 0 ? sizeof(T) / bytes_per_word
                                       : sizeof(T) % bytes_per_word == 2 ? sizeof(T) / 2
                                                                         : sizeof(T);
  static constexpr std::size_t elements = words * bytes_per_word / sizeof(T);
  /// The elements.
  struct values {
    T each[elements];
  };
  /// The words.
  struct bits {
    std::uint32_t each[words];
  };
};

/// How many words `count` elements take.
template <class T>
ALLFOLD_HOST_DEVICE constexpr std::size_t words_for(std::size_t count) {
  constexpr std::size_t each = word_unit<T>::elements;
  return (count + each - 1) / each * word_unit<T>::words;
}

/// An all-reduce of `count` elements, folded in rank order. Every thread of the block makes one and
/// calls it. words_for<T>(count) must not exceed the group's slot_words, nor these 16384. All shots
/// of a group have as many lanes and threads, so that a word belongs to the same thread in all.
///
/// A slot has two halves that take turns. A rank writes a half again two shots later: by then every
/// rank has pushed the shot between, and so has read this one: its kernels follow each other. A
/// flag holds 16 bits of the shots' number and 16 bits of what the ranks must agree on. So that no
/// word keeps a flag from 65536 shots ago, each shot also writes one word of the half that the
/// message may not reach.
template <class T, class Schedule, class Operation, memory_access Access>
class lane_shot {
 public:
  ALLFOLD_HOST_DEVICE lane_shot(const task<Schedule, Operation>& work, std::size_t count,
                                const group& all, const place& here, int index, int threads)
      : work_{work},
        count_{count},
        all_{all},
        here_{here},
        own_{all.states[here.mine.rank][here.lane]},
        shots_{Access::relaxed_load(&own_.shots)},
        watch_{all, here, work.call},
        thread_{static_cast<std::size_t>(here.lane) * static_cast<std::size_t>(threads) +
                static_cast<std::size_t>(index)},
        threads_{static_cast<std::size_t>(here.lanes) * static_cast<std::size_t>(threads)},
        flag_{static_cast<std::uint32_t>(work.fingerprint >> 48 << 16) |
              (static_cast<std::uint32_t>(shots_ + 1) & 0xffffu)} {}

  /// False if the collective has failed. No thread waits for another of its block, except for the
  /// last: `sync` is called once, before the counters move on.
  template <class Sync>
  ALLFOLD_HOST_DEVICE bool operator()(Sync all_done) {
    if (count_ == 0) return true;  // nobody would wait for anybody
    bool received = true;
    push_refresh();
    const std::size_t units = words_for<T>(count_) / words;
    for (std::size_t number = thread_; number < units && received; number += threads_)
      received = exchange(number);
    if (all_done(!received)) return false;
    if (thread_ % threads_of_block() == 0) {
      Access::relaxed_store(&own_.shots, shots_ + 1);
      Access::release(&own_.completed, own_.completed + 1);
    }
    return true;
  }

 private:
  using unit = word_unit<T>;
  static constexpr std::size_t words = unit::words;

  ALLFOLD_HOST_DEVICE std::size_t threads_of_block() const {
    return threads_ / static_cast<std::size_t>(here_.lanes);
  }
  ALLFOLD_HOST_DEVICE int rank() const { return here_.mine.rank; }

  /// Where the words of rank `from` lie in the slot of rank `at`, in this shot.
  ALLFOLD_HOST_DEVICE std::uint64_t* slot(int at, int from) const {
    const std::size_t half = (shots_ % 2) * static_cast<std::size_t>(all_.size);
    return all_.slots[at] + (half + static_cast<std::size_t>(from)) * all_.slot_words;
  }
  ALLFOLD_HOST_DEVICE void push(std::size_t word, std::uint32_t bits) const {
    const std::uint64_t both = (std::uint64_t{flag_} << 32) | bits;
    for (int i = 1; i < all_.size; ++i) {
      const int peer = rank() + i < all_.size ? rank() + i : rank() + i - all_.size;
      Access::relaxed_store(slot(peer, rank()) + word, both);
    }
  }
  /// The first thread of each lane takes one of the words in turn, if its message does not.
  ALLFOLD_HOST_DEVICE void push_refresh() const {
    const std::size_t word = (shots_ / 2) % all_.slot_words;
    if (thread_ == 0 && word >= words_for<T>(count_)) push(word, 0);
  }

  /// Sends one unit of elements and folds it with the others'.
  ALLFOLD_HOST_DEVICE bool exchange(std::size_t number) {
    const std::size_t first = number * unit::elements;
    const typename unit::bits mine = load(first);
    ALLFOLD_UNROLL
    for (std::size_t i = 0; i < unit::words; ++i) push(number * words + i, mine.each[i]);
    accumulator<T> folded[unit::elements]{};
    for (int peer = 0; peer < all_.size; ++peer) {
      typename unit::bits its = mine;
      if (peer != rank() && !receive(peer, number * words, its)) return false;
      const auto values = __builtin_bit_cast(typename unit::values, its);
      ALLFOLD_UNROLL
      for (std::size_t i = 0; i < unit::elements; ++i) {
        const auto value = static_cast<accumulator<T>>(values.each[i]);
        folded[i] =
            peer == 0 ? value : static_cast<accumulator<T>>(work_.operation(folded[i], value));
      }
    }
    store(first, folded);
    return true;
  }
  ALLFOLD_HOST_DEVICE typename unit::bits load(std::size_t first) const {
    const T* const input = reinterpret_cast<const T*>(here_.mine.input);
    typename unit::values values{};
    ALLFOLD_UNROLL
    for (std::size_t i = 0; i < unit::elements; ++i)
      if (first + i < count_) values.each[i] = input[first + i];
    return __builtin_bit_cast(typename unit::bits, values);
  }
  ALLFOLD_HOST_DEVICE void store(std::size_t first, const accumulator<T>* folded) const {
    T* const output = reinterpret_cast<T*>(here_.mine.output);
    ALLFOLD_UNROLL
    for (std::size_t i = 0; i < unit::elements; ++i) {
      if (first + i >= count_) continue;
      accumulator<T> value = folded[i];
      if constexpr (requires { work_.operation.finish(value, 1); })
        value = static_cast<accumulator<T>>(work_.operation.finish(value, all_.size));
      output[first + i] = static_cast<T>(value);
    }
  }
  ALLFOLD_HOST_DEVICE bool receive(int peer, std::size_t word, typename unit::bits& bits) const {
    const std::uint64_t* const from = slot(rank(), peer) + word;
    ALLFOLD_UNROLL
    for (std::size_t i = 0; i < unit::words; ++i) {
      std::uint64_t both = 0;
      const auto has_come = [&] {
        both = Access::relaxed_load(const_cast<std::uint64_t*>(from) + i);
        return static_cast<std::uint32_t>(both >> 32) == flag_;
      };
      const auto calls_another = [&] {
        const auto flag = static_cast<std::uint32_t>(both >> 32);
        post& said = all_.states[peer][here_.lane].posts[own_.completed % window];
        return ((flag ^ flag_) & 0xffffu) == 0 ||
               Access::acquire(&said.stamp) == own_.completed + 1;
      };
      if (!watch_.until(has_come, calls_another, peer, entered)) return false;
      bits.each[i] = static_cast<std::uint32_t>(both);
    }
    return true;
  }

  const task<Schedule, Operation>& work_;
  std::size_t count_;
  const group& all_;
  const place& here_;
  lane_state& own_;
  std::uint64_t shots_;
  watch<Access> watch_;
  std::size_t thread_;   ///< among all threads of the rank
  std::size_t threads_;  ///< of the rank
  std::uint32_t flag_;
};

}  // namespace allfold::device
