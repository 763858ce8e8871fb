// What a collective must give, bit for bit: a serial fold, one element after the other, in the
// order that the schedule declares.
#pragma once

#include <allfold/collective/common.hpp>
#include <allfold/execution/host.hpp>
#include <allfold/reduction.hpp>
#include <allfold/schedule/fold_order.hpp>
#include <allfold/schedule/partition.hpp>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "support/elements.hpp"

namespace test {

/// Which fold every element of every rank's result holds.
struct fold_plan {
  /// Elements side by side that belong to the same chunk.
  struct stretch {
    std::size_t begin, count;
    int chunk;
  };
  int ranks;
  allfold::fold_values values;
  std::vector<stretch> stretches;
  /// [rank][chunk]: the number of the value in that chunk of the rank's output, or undefined.
  std::vector<std::vector<int>> held;
};

/// The folds of a schedule whose chunks are the parts of a partition.
template <class Schedule>
fold_plan plan_of(const Schedule& plan, int ranks, const allfold::partition& parts) {
  fold_plan made{ranks, allfold::fold_order(plan, ranks), {}, {}};
  for (int piece = 0; piece < parts.pieces(); ++piece)
    for (int chunk = 0; chunk < parts.chunks(); ++chunk) {
      const allfold::extent elements = parts.of(chunk, 1, piece);
      made.stretches.push_back({elements.begin, elements.count, chunk});
    }
  for (int rank = 0; rank < ranks; ++rank) {
    auto& row = made.held.emplace_back();
    for (int chunk = 0; chunk < parts.chunks(); ++chunk)
      row.push_back(made.values.at(rank, allfold::buffer::output, chunk, 0));
  }
  return made;
}

/// The folds of `count` elements of which no rank has a share of its own: short messages go
/// another way, and chunks end on cache lines.
template <class World, class Schedule>
fold_plan even_plan(const Schedule& plan, int ranks, std::size_t count, const element_kind& kind) {
  if constexpr (requires { typename Schedule::small; })
    if (count * kind.size <= World::small_bytes && kind.alignment <= 16)
      return even_plan<World>(allfold::detail::small_of(plan), ranks, count, kind);
  const std::size_t granule = kind.size >= 64 ? 1 : 64 / kind.size;
  const int pieces = allfold::detail::pieces_of<World>(plan, ranks, count * kind.size);
  return plan_of(plan, ranks, allfold::partition{count, plan.chunks(ranks), pieces, granule});
}

/// The folds of elements of which every rank has `share`.
template <class Schedule>
fold_plan shared_plan(const Schedule& plan, int ranks, std::size_t share) {
  const std::size_t count = share * static_cast<std::size_t>(ranks);
  return plan_of(plan, ranks, allfold::partition{count, ranks, 1, 1});
}

/// Element `i` of the value `number`, given all ranks' inputs. Every fold starts from its first
/// operand, takes the others one by one in accumulator<T>, and is rounded to T once.
template <class T, class Operation>
T evaluated(const fold_plan& plan, int number, int chunk, const std::vector<const T*>& inputs,
            std::size_t i, const Operation& operation) {
  const allfold::fold_values::value& it = plan.values[number];
  if (it.rank >= 0) {
    if (it.chunk != chunk) throw std::logic_error{"a fold of different chunks"};
    return inputs[static_cast<std::size_t>(it.rank)][i];
  }
  using wide = allfold::accumulator<T>;
  const auto operand = [&](int k) {
    return static_cast<wide>(
        evaluated<T>(plan, plan.values.operand_of(it, k), chunk, inputs, i, operation));
  };
  wide result = operand(0);
  for (int k = 1; k < it.count; ++k) result = static_cast<wide>(operation(result, operand(k)));
  if constexpr (requires { operation.finish(result, 1); })
    if (it.complete) result = static_cast<wide>(operation.finish(result, plan.ranks));
  return static_cast<T>(result);
}

/// What the whole fold must be on rank `rank`, given all ranks' inputs. Where the rank need not
/// hold a chunk, the bytes are left as `before`. Throws if the stretches don't cover the
/// elements.
template <class T, class Operation>
bytes folded(const fold_plan& plan, int rank, const std::vector<const T*>& inputs,
             const bytes& before) {
  bytes result = before;
  std::size_t covered = 0;
  for (const fold_plan::stretch& each : plan.stretches) {
    covered += each.count;
    const int number =
        plan.held[static_cast<std::size_t>(rank)][static_cast<std::size_t>(each.chunk)];
    if (number == allfold::fold_values::undefined) continue;
    for (std::size_t i = each.begin; i < each.begin + each.count; ++i) {
      const T value = evaluated<T>(plan, number, each.chunk, inputs, i, Operation{});
      std::memcpy(result.data() + i * sizeof(T), &value, sizeof(T));
    }
  }
  if (covered * sizeof(T) != before.size()) throw std::logic_error{"elements in no chunk"};
  return result;
}

}  // namespace test
