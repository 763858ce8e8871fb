// How many ranks, lanes and threads the kernels' bodies are tried with, and how jobs are carried
// out on them.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "support/jobs.hpp"

namespace test {

/// Ranks, and the blocks that each of them has.
struct shape {
  int ranks;
  grid blocks;

  /// True if a collective takes long, because it needs so many threads.
  constexpr bool is_slow() const { return ranks * blocks.lanes * blocks.threads > 90; }
};

/// From 1 to 8 ranks, 1 to 3 lanes, blocks of 1 to 64 threads; where there are many of one, there
/// are few of the others, since each thread of each block is a thread of this machine.
inline constexpr shape shapes[] = {{2, {32, 2}}, {5, {3, 2}},  {8, {1, 1}}, {3, {32, 1}},
                                   {4, {1, 3}},  {2, {64, 1}}, {7, {1, 2}}, {6, {3, 1}},
                                   {1, {32, 3}}, {4, {3, 3}},  {3, {1, 1}}, {8, {3, 1}},
                                   {1, {3, 1}},  {5, {1, 2}},  {2, {1, 3}}};

/// Carries out jobs that were made for as many ranks.
inline void carry_out(const std::vector<job>& jobs, const shape& on, failures& list,
                      std::uint64_t seed = 0) {
  const std::size_t before = list.count();
  current_grid = on.blocks;
  carry_out(jobs, on.ranks, list, seed);
  if (list.count() != before)
    list.add("this was with " + std::to_string(on.blocks.lanes) + " lanes of " +
             std::to_string(on.blocks.threads) + " threads");
}

/// Hands out the shapes, one after the other, round and round.
class shapes_in_turn {
 public:
  /// The next one that has enough ranks and does not take long.
  const shape& next(int least_ranks = 1) {
    while (true) {
      const shape& it = shapes[turn_++ % std::size(shapes)];
      if (it.ranks >= least_ranks && !it.is_slow()) return it;
    }
  }

 private:
  std::size_t turn_ = 0;
};

namespace detail {

template <std::size_t I, class First, class... Rest>
auto picked(types<First, Rest...>) {
  if constexpr (I == 0)
    return type<First>{};
  else
    return picked<I - 1>(types<Rest...>{});
}
template <class... T>
constexpr std::size_t length(types<T...>) {
  return sizeof...(T);
}
template <class... T, std::size_t... I, class Visit>
void for_each_numbered(types<T...>, std::index_sequence<I...>, Visit& visit) {
  (visit(type<T>{}, std::integral_constant<std::size_t, I>{}), ...);
}

}  // namespace detail

/// Entry `I` of a list that is repeated without end.
template <std::size_t I, class List>
using picked = typename decltype(detail::picked<I % detail::length(List{})>(List{}))::of;

/// Calls `visit(type<T>{}, number)` for each type of the list; the number is a constant.
template <class... T, class Visit>
void for_each_numbered(types<T...> list, Visit visit) {
  detail::for_each_numbered(list, std::index_sequence_for<T...>{}, visit);
}

}  // namespace test
