// Which samples of a data set each rank trains on, epoch by epoch: PyTorch's DistributedSampler.
#pragma once

#include <allfold/data_parallel/mersenne_twister.hpp>
#include <allfold/data_parallel/sample_batches.hpp>
#include <allfold/error.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <source_location>
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

/// How far the ranks together have come in the data set: what a training run saves so that it can
/// go on in the middle of an epoch. It says nothing of a rank or of how many there are.
struct sampler_position {
  std::uint64_t epoch = 0;
  std::uint64_t samples_done = 0;  ///< by all ranks, of the epoch's order, from its beginning
  std::uint64_t total = 0;         ///< the size of the data set
  std::uint64_t seed = 0;          ///< this and the rest: the sampler's options
  bool shuffle = true;
  bool drop_last = false;

  friend bool operator==(const sampler_position&, const sampler_position&) = default;
};

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

  /// The same division of the same data set over the ranks of another world, for the calling rank
  /// of it. Errors: as for a new one.
  template <class World>
  distributed_sampler on(const World& world,
                         std::source_location where = std::source_location::current()) const {
    return {total, world, chosen, where};
  }

  /// How many ranks the data set is divided over.
  int ranks() const { return rank_count; }
  /// Samples of this rank in each epoch: equally many on every rank.
  std::size_t size() const { return left(0); }

  /// The indices of this rank's samples in epoch `epoch`, of any integer type, in the order in
  /// which they are trained on. Takes time and memory for the indices of all ranks if they are
  /// shuffled. Errors: usage_error if `epoch` is negative.
  template <std::integral Epoch>
  std::vector<std::size_t> indices(
      Epoch epoch, std::source_location where = std::source_location::current()) const {
    return indices_from(start_of(epoch, where), where);
  }

  /// The same indices in batches of `per_batch`, the last one shorter if they do not divide, or
  /// left out with last_batch::drop: `for (auto batch : sampler.batches(epoch, 64))`, where each
  /// batch is a std::span<const std::size_t>. Equally many batches on every rank.
  /// Errors: usage_error if `epoch` is negative or `per_batch` is not positive.
  template <std::integral Epoch, std::integral Count>
  sample_batches batches(Epoch epoch, Count per_batch, last_batch last = last_batch::keep,
                         std::source_location where = std::source_location::current()) const {
    return batches_from(start_of(epoch, where), per_batch, last, where);
  }

  /// The position at the beginning of epoch `epoch`. Errors: usage_error if `epoch` is negative.
  template <std::integral Epoch>
  sampler_position start_of(Epoch epoch,
                            std::source_location where = std::source_location::current()) const {
    return {checked<std::uint64_t>("epoch", epoch, 0, where),
            0,
            total,
            chosen.seed,
            chosen.shuffle,
            chosen.drop_last};
  }

  /// What is left of the epoch after `position`, which is the same on every rank, in batches of
  /// `per_batch`. After k batches of b samples each, N ranks have trained on the first k·b·N of the
  /// epoch's order, so the rest follows it without a gap; as in a whole epoch, rank r of the M that
  /// there are now takes the places r, r + M, r + 2M, … of the rest.
  ///
  /// With as many ranks as before (M = N) and the same `per_batch` and `last`, these are the very
  /// batches that would have come. With another number of ranks each sample of the epoch is still
  /// trained on once, up to the usual repetition, or with drop_last omission, of up to M − 1 at the
  /// end. But then batches fall on other ranks, and gradients are folded of other parts, so their
  /// bits differ, even if M ranks take as many samples in a step as N did (M·per_batch = N·b) and
  /// each step is of the same samples.
  ///
  /// Errors: usage_error if `per_batch` is not positive, or if `position` is of a data set of
  /// another size, of another seed or of other options; it names the one that differs.
  template <std::integral Count>
  sample_batches batches_from(const sampler_position& position, Count per_batch,
                              last_batch last = last_batch::keep,
                              std::source_location where = std::source_location::current()) const {
    const auto length = checked<std::size_t>("batch size", per_batch, 1, where);
    return {indices_from(position, where), length, last};
  }

  /// The position once all ranks have trained on the first batch of
  /// `batches_from(position, per_batch, last)`; after the epoch's last batch, the beginning of the
  /// next epoch. The same on every rank, and without communication. Errors: as batches_from.
  template <std::integral Count>
  sampler_position after_batch(const sampler_position& position, Count per_batch,
                               last_batch last = last_batch::keep,
                               std::source_location where = std::source_location::current()) const {
    const auto length = checked<std::size_t>("batch size", per_batch, 1, where);
    check(position, where);
    const std::size_t before = left(position.samples_done);
    const std::size_t after = before - std::min(length, before);
    if (after == 0 || (last == last_batch::drop && after < length))
      return start_of(position.epoch + 1, where);
    sampler_position next = position;
    next.samples_done += std::uint64_t{length} * static_cast<std::uint64_t>(rank_count);
    return next;
  }

 private:
  /// Samples of this rank, and of every other one, once `done` of the epoch are trained on.
  std::size_t left(std::uint64_t done) const {
    const auto divisor = static_cast<std::size_t>(rank_count);
    const auto rest = static_cast<std::size_t>(total - done);
    return rest / divisor + (!chosen.drop_last && rest % divisor != 0 ? 1 : 0);
  }

  std::vector<std::size_t> indices_from(const sampler_position& from,
                                        std::source_location where) const {
    check(from, where);
    std::vector<std::size_t> order, own(left(from.samples_done));
    if (chosen.shuffle && !own.empty())
      order = detail::permutation(total, chosen.seed + from.epoch);
    auto place = static_cast<std::size_t>(from.samples_done) + static_cast<std::size_t>(own_rank);
    for (std::size_t& index : own) {
      index = chosen.shuffle ? order[place % total] : place % total;
      place += static_cast<std::size_t>(rank_count);
    }
    return own;
  }

  void check(const sampler_position& position, std::source_location where) const {
    const auto same = [&](const char* what, std::uint64_t theirs, std::uint64_t own) {
      if (theirs != own)
        fail("the position is of " + std::string{what} + ' ' + std::to_string(theirs) +
                 ", the sampler of " + std::to_string(own),
             where);
    };
    same("data set size", position.total, total);
    same("seed", position.seed, chosen.seed);
    same("shuffle", position.shuffle, chosen.shuffle);
    same("drop_last", position.drop_last, chosen.drop_last);
    if (position.samples_done > total)
      fail("the position is after " + std::to_string(position.samples_done) + " samples of " +
               std::to_string(total),
           where);
  }

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
