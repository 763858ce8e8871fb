#include "wrong.hpp"

#include <algorithm>
#include <allfold/reduction.hpp>
#include <cstring>
#include <stdexcept>

namespace bench {
namespace {

/// Elements that are worked out at a time.
constexpr std::size_t block_length = 512;

template <class T>
std::size_t count_different(const T* a, const T* b, std::size_t count) {
  if (std::memcmp(a, b, count * sizeof(T)) == 0) return 0;
  std::size_t different = 0;
  for (std::size_t i = 0; i < count; ++i)
    different += std::memcmp(a + i, b + i, sizeof(T)) != 0 ? 1 : 0;
  return different;
}

/// A fold of blocks: begins with its first operand, takes the others one by one in accumulator<T>,
/// and is rounded once.
template <class T>
class block_fold {
  using wide = allfold::accumulator<T>;

 public:
  explicit block_fold(std::size_t count) : count_{count} {}

  void take(redop operation, const T* operand) {
    if (!begun_) {
      for (std::size_t i = 0; i < count_; ++i) folded_[i] = static_cast<wide>(operand[i]);
      begun_ = true;
      return;
    }
    with_operation(operation, [&](auto fold) {
      for (std::size_t i = 0; i < count_; ++i)
        folded_[i] = static_cast<wide>(fold(folded_[i], static_cast<wide>(operand[i])));
    });
  }
  void finish(redop operation, int ranks) {
    if (operation != redop::average) return;
    for (std::size_t i = 0; i < count_; ++i)
      folded_[i] = static_cast<wide>(allfold::average{}.finish(folded_[i], ranks));
  }
  void round(T* out) const {
    for (std::size_t i = 0; i < count_; ++i) out[i] = static_cast<T>(folded_[i]);
  }

 private:
  std::size_t count_;
  bool begun_ = false;
  wide folded_[block_length];
};

/// Elements [first, first + count) of a value of the plan.
template <class T>
void evaluate(const fold_plan& plan, int number, const value_source& inputs, std::size_t first,
              std::size_t count, T* out) {
  const allfold::fold_values::value& it = plan.values[number];
  if (it.rank >= 0) {
    fill_values(inputs, it.rank, first, count, out);
    return;
  }
  block_fold<T> fold{count};
  T operand[block_length];
  for (int k = 0; k < it.count; ++k) {
    evaluate(plan, plan.values.operand_of(it, k), inputs, first, count, operand);
    fold.take(inputs.operation, operand);
  }
  if (it.complete) fold.finish(inputs.operation, plan.ranks);
  fold.round(out);
}

template <class T>
void evaluate_in_rank_order(const value_source& inputs, std::size_t first, std::size_t count,
                            T* out) {
  block_fold<T> fold{count};
  T operand[block_length];
  for (int rank = 0; rank < inputs.ranks; ++rank) {
    fill_values(inputs, rank, first, count, operand);
    fold.take(inputs.operation, operand);
  }
  fold.finish(inputs.operation, inputs.ranks);
  fold.round(out);
}

/// The elements of the fold that a rank gets.
allfold::extent result_of(allfold::collective what, const result_view& result) {
  if (what == allfold::collective::reduce && result.rank != result.root) return {};
  if (what == allfold::collective::reduce_scatter)
    return {static_cast<std::size_t>(result.rank) * result.counts.share, result.counts.share};
  return {0, result.counts.share};
}

/// Calls `expect(first, count, out)` for the part of `stretch` that `wanted` has, block by block,
/// and compares. `given` begins with the first wanted element.
template <class T, class Expect>
std::size_t compare(const T* given, allfold::extent wanted, allfold::extent stretch,
                    Expect&& expect) {
  std::size_t wrong = 0;
  const std::size_t end = std::min(wanted.begin + wanted.count, stretch.begin + stretch.count);
  T expected[block_length];
  for (std::size_t first = std::max(wanted.begin, stretch.begin); first < end;) {
    const std::size_t count = std::min(block_length, end - first);
    expect(first, count, expected);
    wrong += count_different(given + (first - wanted.begin), expected, count);
    first += count;
  }
  return wrong;
}

template <class T>
std::size_t count_wrong_chunks(allfold::collective what, const result_view& result,
                               const value_source& inputs) {
  const T* const given = reinterpret_cast<const T*>(result.elements);
  const bool even = what == allfold::collective::broadcast;
  const int chunks = even ? 1 : inputs.ranks;
  std::size_t wrong = 0;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const auto it = allfold::expected(what, result.root, result.rank, chunk);
    if (!it.anything) continue;
    const auto place = [&](allfold::buffer end, int number) {
      return allfold::holds_own_chunk(what, end)
                 ? std::size_t{0}
                 : static_cast<std::size_t>(number) * result.counts.share;
    };
    const std::size_t from = place(allfold::buffer::input, it.chunk);
    wrong += compare(given + place(allfold::buffer::output, chunk), {0, result.counts.share},
                     {0, result.counts.share}, [&](std::size_t first, std::size_t count, T* out) {
                       fill_values(inputs, it.rank, from + first, count, out);
                     });
  }
  return wrong;
}

}  // namespace

std::size_t count_wrong_folds(allfold::collective what, const result_view& result,
                              const fold_plan& plan, const value_source& inputs) {
  const allfold::extent wanted = result_of(what, result);
  return with_element(result.type, [&]<class T>() {
    const T* const given = reinterpret_cast<const T*>(result.elements);
    std::size_t wrong = 0, covered = 0;
    for (const fold_plan::stretch& each : plan.stretches) {
      covered += each.elements.count;
      wrong +=
          compare(given, wanted, each.elements, [&](std::size_t first, std::size_t count, T* out) {
            evaluate(plan, plan.value_of(result.rank, each.chunk), inputs, first, count, out);
          });
    }
    if (covered != result.counts.whole()) throw std::logic_error{"elements in no chunk"};
    return wrong;
  });
}

std::size_t count_wrong_folds(allfold::collective what, const result_view& result,
                              const value_source& inputs) {
  const allfold::extent wanted = result_of(what, result);
  return with_element(result.type, [&]<class T>() {
    return compare(reinterpret_cast<const T*>(result.elements), wanted, wanted,
                   [&](std::size_t first, std::size_t count, T* out) {
                     evaluate_in_rank_order(inputs, first, count, out);
                   });
  });
}

std::size_t count_wrong_moves(allfold::collective what, const result_view& result,
                              const value_source& inputs) {
  if (what == allfold::collective::barrier) return 0;
  return with_element(result.type,
                      [&]<class T>() { return count_wrong_chunks<T>(what, result, inputs); });
}

std::size_t count_early(std::span<const time_point> entered, std::span<const time_point> left) {
  const time_point last = *std::max_element(entered.begin(), entered.end());
  return static_cast<std::size_t>(
      std::count_if(left.begin(), left.end(), [&](time_point each) { return each < last; }));
}

void fill_input(datatype type, const value_source& inputs, int rank, std::size_t count,
                std::byte* input) {
  with_element(
      type, [&]<class T>() { fill_values(inputs, rank, 0, count, reinterpret_cast<T*>(input)); });
}

}  // namespace bench
