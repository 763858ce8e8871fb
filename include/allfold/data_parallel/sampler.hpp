// Which samples of a data set each rank trains on, epoch by epoch: PyTorch's DistributedSampler.
#pragma once

#include <allfold/data_parallel/mersenne_twister.hpp>
#include <allfold/error.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <source_location>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace allfold {

/// How a distributed_sampler divides the data set. Every rank must choose the same.
struct sampler_options {
  std::uint64_t seed = 0;  ///< the low 32 bits of seed + epoch choose the order of an epoch
  bool shuffle = true;     ///< false: every epoch takes the samples in the data set's order
  bool drop_last = false;  ///< leave up to ranks − 1 samples out, instead of repeating some
};

/// What becomes of a rank's last batch if it is short.
enum class last_batch { keep, drop };

namespace detail {

/// The numbers 0 … count − 1 in the order of torch.randperm(count) on the CPU, whose generator was
/// given `seed`. From `wide_from` numbers on, where 32 random bits are too few for a fair order,
/// PyTorch since version 2.6 draws 64 and goes about it in another way; the order of earlier
/// versions differs there. Both are Fisher and Yates's: Knuth, "The Art of Computer Programming",
/// volume 2, 3.4.2, algorithm P.
inline std::vector<std::size_t> permutation(std::size_t count, std::uint64_t seed,
                                            std::size_t wide_from = 0xffffffffu / 20) {
  mersenne_twister random{seed};
  std::vector<std::size_t> order(count);
  if (count >= wide_from) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto other = static_cast<std::size_t>(random.draw64() % (i + 1));
      order[i] = order[other];
      order[other] = i;
    }
    return order;
  }
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  for (std::size_t i = 0; i + 1 < count; ++i)
    std::swap(order[i], order[i + random() % static_cast<std::uint32_t>(count - i)]);
  return order;
}

}  // namespace detail

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

/// Divides a data set over the ranks, index for index like PyTorch's
/// torch.utils.data.DistributedSampler with the same seed, epoch and options: the indices are
/// shuffled, the same on every rank; the first ones are repeated at the end until every rank gets
/// equally many (or, with drop_last, the last ones are left out); rank r takes the positions
/// r, r + ranks, r + 2 ranks, …
///
/// So all ranks run equally many steps, and none waits in a collective for one that has finished.
/// Nothing is communicated. An empty data set has no indices and no batches, as in PyTorch.
/// Several threads may use one sampler at the same time.
class distributed_sampler {
 public:
  /// For the calling rank of `world`, anything with rank() and size(). `samples` is the size of
  /// the data set. Errors: usage_error for a negative size or a rank outside [0, world.size()).
  template <std::integral Count, class World>
  requires requires(const World& world) {
    { world.rank() } -> std::same_as<int>;
    { world.size() } -> std::same_as<int>;
  }
  distributed_sampler(Count samples, const World& world, sampler_options options = {},
                      std::source_location where = std::source_location::current())
      : distributed_sampler{samples, world.rank(), world.size(), options, where} {}

  /// For rank `rank` of `ranks`. Errors: as above, and usage_error if there is no rank at all.
  template <std::integral Count>
  distributed_sampler(Count samples, int rank, int ranks, sampler_options options = {},
                      std::source_location where = std::source_location::current())
      : own_rank{rank}, rank_count{ranks}, chosen{options} {
    if (ranks < 1)
      fail("the number of ranks is " + std::to_string(ranks) + "; it must be positive", where);
    if (rank < 0 || rank >= ranks)
      fail("the rank must be in [0, " + std::to_string(ranks) + ")", where);
    total = checked<std::size_t>("data set size", samples, 0, where);
  }

  /// Samples of this rank in each epoch: equally many on every rank.
  std::size_t size() const {
    const auto divisor = static_cast<std::size_t>(rank_count);
    return total / divisor + (!chosen.drop_last && total % divisor != 0 ? 1 : 0);
  }

  /// The indices of this rank's samples in epoch `epoch`, of any integer type, in the order in
  /// which they are trained on. Takes time and memory for the indices of all ranks if they are
  /// shuffled. Errors: usage_error if `epoch` is negative.
  template <std::integral Epoch>
  std::vector<std::size_t> indices(
      Epoch epoch, std::source_location where = std::source_location::current()) const {
    const auto number = checked<std::uint64_t>("epoch", epoch, 0, where);
    std::vector<std::size_t> order, own(size());
    if (chosen.shuffle && !own.empty()) order = detail::permutation(total, chosen.seed + number);
    auto place = static_cast<std::size_t>(own_rank);
    for (std::size_t& index : own) {
      index = chosen.shuffle ? order[place % total] : place % total;
      place += static_cast<std::size_t>(rank_count);
    }
    return own;
  }

  /// The same indices in batches of `per_batch`, the last one shorter if they do not divide, or
  /// left out with last_batch::drop: `for (auto batch : sampler.batches(epoch, 64))`, where each
  /// batch is a std::span<const std::size_t>. Equally many batches on every rank.
  /// Errors: usage_error if `epoch` is negative or `per_batch` is not positive.
  template <std::integral Epoch, std::integral Count>
  sample_batches batches(Epoch epoch, Count per_batch, last_batch last = last_batch::keep,
                         std::source_location where = std::source_location::current()) const {
    const auto length = checked<std::size_t>("batch size", per_batch, 1, where);
    return {indices(epoch, where), length, last};
  }

 private:
  template <class Result, class Value>
  Result checked(const char* what, Value value, int least, std::source_location where) const {
    if (!std::in_range<Result>(value) || std::cmp_less(value, least))
      fail("the " + std::string{what} + " is " + std::to_string(value) + "; it must " +
               (least == 0 ? "not be negative" : "be positive"),
           where);
    return static_cast<Result>(value);
  }

  [[noreturn]] void fail(const std::string& why, std::source_location where) const {
    throw usage_error{"distributed_sampler on rank " + std::to_string(own_rank) + ": " + why +
                      ", at " + place_of(where)};
  }

  std::size_t total = 0;
  int own_rank, rank_count;
  sampler_options chosen;
};

}  // namespace allfold
