// Folds elements with all threads of a block: 16 bytes at a time, several of them in flight.
#pragma once

#include <allfold/execution/lane.hpp>
#include <allfold/reduction.hpp>

namespace allfold::device {

/// 16 bytes that are loaded and stored at once, whatever is in them.
struct alignas(16) packet {
  std::uint32_t words[4];
} __attribute__((may_alias));

/// How many packets a thread loads before it folds: enough to hide memory's latency, few enough for
/// the registers.
template <class T>
inline constexpr std::size_t packets_in_flight = sizeof(T) == 1   ? 1
                                                 : sizeof(T) == 2 ? 2
                                                                  : 4;

/// `Count` packets of elements, in the type that they are folded in.
template <class T, std::size_t Count>
struct folded_packets {
  using wide = accumulator<T>;
  static constexpr std::size_t each = sizeof(packet) / sizeof(T);
  /// A packet's elements.
  struct elements {
    T values[each];
  };
  wide values[Count * each];

  template <class Operation>
  ALLFOLD_HOST_DEVICE void fold(const packet (&loaded)[Count], const Operation& operation) {
    for_each(loaded,
             [&](wide& value, wide next) { value = static_cast<wide>(operation(value, next)); });
  }
  ALLFOLD_HOST_DEVICE void begin(const packet (&loaded)[Count]) {
    for_each(loaded, [](wide& value, wide next) { value = next; });
  }
  template <class Operation>
  ALLFOLD_HOST_DEVICE void finish(const Operation& operation, int ranks) {
    ALLFOLD_UNROLL
    for (std::size_t i = 0; i < Count * each; ++i)
      values[i] = static_cast<wide>(operation.finish(values[i], ranks));
  }
  ALLFOLD_HOST_DEVICE void end(packet (&stored)[Count]) const {
    ALLFOLD_UNROLL
    for (std::size_t k = 0; k < Count; ++k) {
      elements out;
      ALLFOLD_UNROLL
      for (std::size_t i = 0; i < each; ++i) out.values[i] = static_cast<T>(values[k * each + i]);
      stored[k] = __builtin_bit_cast(packet, out);
    }
  }

 private:
  template <class Change>
  ALLFOLD_HOST_DEVICE void for_each(const packet (&loaded)[Count], Change change) {
    ALLFOLD_UNROLL
    for (std::size_t k = 0; k < Count; ++k) {
      const auto in = __builtin_bit_cast(elements, loaded[k]);
      ALLFOLD_UNROLL
      for (std::size_t i = 0; i < each; ++i)
        change(values[k * each + i], static_cast<wide>(in.values[i]));
    }
  }
};

/// True of elements that packets can be made of.
template <class T>
inline constexpr bool fits_packets = sizeof(T) <= sizeof(packet) && sizeof(packet) % sizeof(T) == 0;

/// The operation of schedules that fold nothing: each step has a single source.
struct copied {
  template <class T>
  ALLFOLD_HOST_DEVICE const T& operator()(const T& value, const T&) const {
    return value;
  }
};

/// One fold as all threads of a block see it: `places` holds the addresses of the sources, then of
/// the targets, each of `count` elements.
template <class T, class Operation>
class block_fold {
 public:
  ALLFOLD_HOST_DEVICE block_fold(std::byte* const* places, int sources, int targets,
                                 const Operation& operation, int finish_ranks)
      : places_{places},
        sources_{sources},
        targets_{targets},
        operation_{operation},
        finish_ranks_{finish_ranks} {}

  /// Folds by thread `index` of `threads`. Packets where all addresses are equally far from a
  /// multiple of 16, element by element otherwise and at both ends. Elements that stay as and where
  /// they are are not written: other ranks may be reading them.
  ALLFOLD_HOST_DEVICE void operator()(std::size_t count, int index, int threads) const {
    if (stays()) return;
    std::size_t head = count, tail = count;  // packets lie between them
    if constexpr (fits_packets<T>) {
      const std::size_t off = address(0) % sizeof(packet);
      if (alike() && off % sizeof(T) == 0) {
        const std::size_t until_aligned = (sizeof(packet) - off) % sizeof(packet) / sizeof(T);
        head = until_aligned < count ? until_aligned : count;
        tail = count - (count - head) % per_packet;
      }
    }
    fold_singly(0, head, index, threads);
    if constexpr (fits_packets<T>) fold_packets(head * sizeof(T), tail * sizeof(T), index, threads);
    fold_singly(tail, count, index, threads);
  }

 private:
  static constexpr std::size_t per_packet =
      sizeof(T) < sizeof(packet) ? sizeof(packet) / sizeof(T) : 1;

  ALLFOLD_HOST_DEVICE std::uintptr_t address(int k) const {
    return reinterpret_cast<std::uintptr_t>(places_[k]);
  }
  /// True for a copy onto itself.
  ALLFOLD_HOST_DEVICE bool stays() const {
    return sources_ == 1 && targets_ == 1 && places_[0] == places_[1] &&
           !(finishes && finish_ranks_ > 0);
  }
  /// True if all addresses differ by multiples of 16.
  ALLFOLD_HOST_DEVICE bool alike() const {
    std::uintptr_t different = 0;
    ALLFOLD_ROLLED
    for (int k = 1; k < sources_ + targets_; ++k) different |= address(k) ^ address(0);
    return different % sizeof(packet) == 0;
  }

  /// The packets from byte `begin` to byte `end`.
  ALLFOLD_HOST_DEVICE void fold_packets(std::size_t begin, std::size_t end, int index,
                                        int threads) const {
    constexpr std::size_t flight = packets_in_flight<T>;
    const std::size_t row = static_cast<std::size_t>(threads) * sizeof(packet);
    std::size_t at = begin + static_cast<std::size_t>(index) * sizeof(packet);
    ALLFOLD_ROLLED
    for (; at + (flight - 1) * row < end; at += flight * row) fold_some<flight>(at, row);
    ALLFOLD_ROLLED
    for (; at < end; at += row) fold_some<1>(at, row);
  }
  /// The packets at bytes `at`, `at` + `row`, …
  template <std::size_t Count>
  ALLFOLD_HOST_DEVICE void fold_some(std::size_t at, std::size_t row) const {
    const auto packet_of = [&](int k, std::size_t i) -> packet& {
      return *reinterpret_cast<packet*>(places_[k] + at + i * row);
    };
    packet moved[Count];
    const auto load = [&](int k) {
      ALLFOLD_UNROLL
      for (std::size_t i = 0; i < Count; ++i) moved[i] = packet_of(k, i);
    };
    load(0);
    if (sources_ > 1 || (finishes && finish_ranks_ > 0)) {
      folded_packets<T, Count> folded;
      folded.begin(moved);
      ALLFOLD_ROLLED
      for (int k = 1; k < sources_; ++k) {
        load(k);
        folded.fold(moved, operation_);
      }
      if constexpr (finishes)
        if (finish_ranks_ > 0) folded.finish(operation_, finish_ranks_);
      folded.end(moved);
    }
    ALLFOLD_ROLLED
    for (int k = 0; k < targets_; ++k) {
      ALLFOLD_UNROLL
      for (std::size_t i = 0; i < Count; ++i) packet_of(sources_ + k, i) = moved[i];
    }
  }

  ALLFOLD_HOST_DEVICE void fold_singly(std::size_t begin, std::size_t end, int index,
                                       int threads) const {
    using wide = accumulator<T>;
    const auto elements_of = [&](int k) { return reinterpret_cast<T*>(places_[k]); };
    ALLFOLD_ROLLED
    for (std::size_t i = begin + static_cast<std::size_t>(index); i < end;
         i += static_cast<std::size_t>(threads)) {
      if (sources_ == 1 && !(finishes && finish_ranks_ > 0)) {
        const T moved = elements_of(0)[i];
        ALLFOLD_ROLLED
        for (int k = 0; k < targets_; ++k) elements_of(sources_ + k)[i] = moved;
        continue;
      }
      wide folded = static_cast<wide>(elements_of(0)[i]);
      ALLFOLD_ROLLED
      for (int k = 1; k < sources_; ++k)
        folded = static_cast<wide>(operation_(folded, static_cast<wide>(elements_of(k)[i])));
      if constexpr (finishes)
        if (finish_ranks_ > 0) folded = static_cast<wide>(operation_.finish(folded, finish_ranks_));
      ALLFOLD_ROLLED
      for (int k = 0; k < targets_; ++k) elements_of(sources_ + k)[i] = static_cast<T>(folded);
    }
  }

  static constexpr bool finishes = requires(const Operation& it, accumulator<T> value) {
    it.finish(value, 1);
  };

  std::byte* const* places_;
  int sources_;
  int targets_;
  Operation operation_;
  int finish_ranks_;
};

}  // namespace allfold::device
