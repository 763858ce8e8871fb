// One rank's samples, cut into batches.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

namespace allfold {

/// What becomes of a rank's last batch if it is short.
enum class last_batch { keep, drop };

/// One rank's samples of one epoch, cut into batches: a forward range that owns the indices and
/// yields a std::span<const std::size_t> for each batch. Spans and iterators are valid as long as
/// the range that they came from, also after it was moved.
class sample_batches {
 public:
  /// `batch_size` is in samples, at least 1.
  sample_batches(std::vector<std::size_t> samples, std::size_t batch_size, last_batch last)
      : indices{std::move(samples)}, per_batch{batch_size} {
    const std::size_t rest = indices.size() % per_batch;
    if (last == last_batch::drop) indices.resize(indices.size() - rest);
  }

  /// Goes over the batches; `*` is the samples of one.
  class iterator {
   public:
    using iterator_concept = std::forward_iterator_tag;
    using iterator_category = std::input_iterator_tag;  // it yields values, not references
    using value_type = std::span<const std::size_t>;
    using difference_type = std::ptrdiff_t;
    using reference = value_type;
    using pointer = void;

    iterator() = default;
    iterator(value_type samples, std::size_t batch_size) : rest{samples}, per_batch{batch_size} {}

    value_type operator*() const { return rest.first(std::min(per_batch, rest.size())); }
    iterator& operator++() {
      rest = rest.subspan(std::min(per_batch, rest.size()));
      return *this;
    }
    iterator operator++(int) {
      const iterator before = *this;
      ++*this;
      return before;
    }
    /// Of iterators of one range.
    friend bool operator==(iterator a, iterator b) { return a.rest.size() == b.rest.size(); }

   private:
    value_type rest;
    std::size_t per_batch = 1;
  };

  iterator begin() const { return {indices, per_batch}; }
  iterator end() const { return {{}, per_batch}; }
  bool empty() const { return indices.empty(); }
  /// In batches.
  std::size_t size() const {
    return indices.size() / per_batch + (indices.size() % per_batch != 0 ? 1 : 0);
  }
  /// Batch `batch` of size().
  std::span<const std::size_t> operator[](std::size_t batch) const {
    return *iterator{std::span{indices}.subspan(batch * per_batch), per_batch};
  }

 private:
  std::vector<std::size_t> indices;
  std::size_t per_batch;
};

}  // namespace allfold
