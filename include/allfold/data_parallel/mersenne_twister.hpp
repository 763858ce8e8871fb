// The generator behind the shuffle, without the compile time of <random>.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace allfold {

/// The 32-bit Mersenne Twister: draw for draw std::mt19937 and PyTorch's CPU generator. A uniform
/// random bit generator, so the distributions of `<random>` accept it. Belongs to one thread.
/// Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform
/// pseudo-random number generator", 1998; seeded by their initialisation of 2002.
class mersenne_twister {
 public:
  using result_type = std::uint32_t;

  /// Only the low 32 bits of `seed` count, as in PyTorch's manual_seed.
  explicit constexpr mersenne_twister(std::uint64_t seed) {
    state[0] = static_cast<std::uint32_t>(seed);
    for (std::size_t i = 1; i < length; ++i)
      state[i] =
          1812433253u * (state[i - 1] ^ (state[i - 1] >> 30)) + static_cast<std::uint32_t>(i);
  }

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return 0xffffffffu; }

  constexpr result_type operator()() {
    if (next == length) refill();
    std::uint32_t word = state[next++];
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c5680u;
    word ^= (word << 15) & 0xefc60000u;
    return word ^ (word >> 18);
  }

  /// Two draws, the first in the high half: PyTorch's random64.
  constexpr std::uint64_t draw64() {
    const std::uint64_t high = (*this)();
    return high << 32 | (*this)();
  }

 private:
  static constexpr std::size_t length = 624, middle = 397;

  constexpr void refill() {
    for (std::size_t i = 0; i < length; ++i) {
      const std::uint32_t next_word = state[i + 1 < length ? i + 1 : 0];
      const std::uint32_t mixed = (state[i] & 0x80000000u) | (next_word & 0x7fffffffu);
      const std::uint32_t far = state[i < length - middle ? i + middle : i + middle - length];
      state[i] = far ^ (mixed >> 1) ^ ((next_word & 1u) * 0x9908b0dfu);
    }
    next = 0;
  }

  std::array<std::uint32_t, length> state{};
  std::size_t next = length;
};

}  // namespace allfold
