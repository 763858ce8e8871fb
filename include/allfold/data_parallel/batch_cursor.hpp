// A rank's way through the batches of all epochs, which goes on though ranks are lost.
#pragma once

#include <allfold/data_parallel/continuation.hpp>
#include <allfold/data_parallel/sampler.hpp>

namespace allfold {

/// What becomes of the batch in which a failure came. The same on every rank.
enum class interrupted : std::uint8_t {
  repeat,  ///< its samples are divided over the ranks that are left, before the rest of the epoch
  drop     ///< its samples, of all ranks, are left out of this epoch
};

/// One rank's next batch, epoch after epoch. Every rank has one, and calls the same:
///
///     for (batch_cursor samples{sampler, 64}; samples.epoch() < 10; samples.advance()) {
///       replica.backward([&](auto&& ready) { model.backward(samples.batch(), ready); });
///       replica.step(optimizer);
///     }
///
/// After a failure `go_on` divides what is left of the epoch over other ranks. Each sample of the
/// epoch is trained on at most once, but for the usual repetition at its end; those of a batch that
/// is dropped are not. Nothing is communicated.
class batch_cursor {
 public:
  /// `per_batch`: samples of this rank in a batch. `from`: where to begin, the same on every rank.
  /// Errors: usage_error as by distributed_sampler::batches_from.
  template <std::integral Count>
  batch_cursor(distributed_sampler sampler, Count per_batch, const sampler_position& from,
               last_batch last = last_batch::keep,
               std::source_location where = std::source_location::current())
      : sampler_{std::move(sampler)},
        batches_{sampler_.batches_from(from, per_batch, last, where)},
        per_batch_{static_cast<std::size_t>(per_batch)},
        last_{last},
        at_{from, static_cast<std::uint64_t>(sampler_.ranks())} {}
  /// From the beginning of epoch 0.
  template <std::integral Count>
  batch_cursor(distributed_sampler sampler, Count per_batch, last_batch last = last_batch::keep,
               std::source_location where = std::source_location::current())
      : batch_cursor{sampler, per_batch, sampler.start_of(0), last, where} {}

  std::uint64_t epoch() const { return at_.position.epoch; }
  /// This rank's next batch: valid until another member is called that changes the cursor. Empty if
  /// the data set is.
  std::span<const std::size_t> batch() const {
    return next_ < batches_.size() ? batches_[next_] : std::span<const std::size_t>{};
  }
  /// All ranks have trained on the batch. To be called right after the step: what comes between may
  /// fail on some ranks, which then would take the batch for one that is still to be done.
  void advance() {
    const std::uint64_t epoch_before = epoch();
    at_.position = sampler_.after_batch(at_.position, per_batch_, last_);
    if (epoch() == epoch_before)
      ++next_;
    else
      begin();
  }
  /// Where the next batch begins: what a saved state holds; see resume.hpp.
  const sampler_position& position() const { return at_.position; }

  /// Goes on with the ranks of `world`, after continue_on has made all hold the same place and has
  /// returned `found`.
  template <class World>
  void go_on(const World& world, const continuation& found, interrupted how,
             std::source_location where = std::source_location::current()) {
    if (found.cut || how == interrupted::drop) {
      const auto ranks = static_cast<int>(at_.ranks);
      at_.position = sampler_.on(one_of{ranks}, where).after_batch(at_.position, per_batch_, last_);
    }
    sampler_ = sampler_.on(world, where);
    at_.ranks = static_cast<std::uint64_t>(sampler_.ranks());
    begin();
  }
  /// What all ranks must hold alike; see data_parallel::continue_on.
  template <class Share>
  void share_state(Share&& share) {
    share(at_);
  }

 private:
  /// The next batch is of so many ranks. Not always as many as the sampler's: this rank may have
  /// gone on before others came to it, when the next failure came.
  struct place {
    sampler_position position;
    std::uint64_t ranks;
  };
  struct one_of {
    int ranks;
    int rank() const { return 0; }
    int size() const { return ranks; }
  };

  void begin() {
    batches_ = sampler_.batches_from(at_.position, per_batch_, last_);
    next_ = 0;
  }

  distributed_sampler sampler_;
  sample_batches batches_;
  std::size_t next_ = 0;  ///< of these
  std::size_t per_batch_;
  last_batch last_;
  place at_;
};

}  // namespace allfold
