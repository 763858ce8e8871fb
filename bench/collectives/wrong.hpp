// Counts the elements of a result that are not, bit for bit, what they must be.
#pragma once

#include "plan.hpp"
#include "shape.hpp"
#include "values.hpp"

#include <chrono>
#include <span>

namespace bench {

/// One rank's result, and what it should have come from.
struct result_view {
  const std::byte* elements = nullptr;
  datatype type = datatype::float32;
  int rank = 0;
  int root = 0;
  shape counts;
};

/// Of a fold: elements that differ from a serial fold of all ranks' inputs, in the order that the
/// plan declares. A rank that gets no result has none wrong.
std::size_t count_wrong_folds(allfold::collective what, const result_view& result,
                              const fold_plan& plan, const value_source& inputs);

/// The same in rank order, whatever the schedule says of itself. For exact values.
std::size_t count_wrong_folds(allfold::collective what, const result_view& result,
                              const value_source& inputs);

/// Of a collective that moves elements: those that are not the ones to be found there.
std::size_t count_wrong_moves(allfold::collective what, const result_view& result,
                              const value_source& inputs);

using time_point = std::chrono::steady_clock::time_point;

/// Of a barrier: ranks that left before the last one had entered.
std::size_t count_early(std::span<const time_point> entered, std::span<const time_point> left);

/// Fills a rank's input for a check.
void fill_input(datatype type, const value_source& inputs, int rank, std::size_t count,
                std::byte* input);

}  // namespace bench
