// Keeps small gradients from vanishing in 16 bits: PyTorch's GradScaler.
#pragma once

#include <allfold/collective/all_reduce.hpp>
#include <allfold/data_parallel/gradient_ranges.hpp>
#include <cmath>
#include <utility>

namespace allfold {

/// How a gradient_scaler chooses its scale; PyTorch's defaults. Every rank must choose the same.
struct scaler_options {
  float scale = 65536;   ///< the first scale; positive
  double growth = 2;     ///< what the scale is multiplied by after `interval` good steps; over 1
  double backoff = 0.5;  ///< and after a step in which a gradient was not finite; under 1
  int interval = 2000;   ///< good steps in a row before the scale grows; positive
};

/// Loss scaling for mixed precision, with the arithmetic of PyTorch's torch.cuda.amp.GradScaler:
/// the loss is multiplied by a scale, so that small gradients do not vanish in 16 bits; before the
/// step the gradients are divided by it; and steps whose gradients overflowed are left out, on all
/// ranks or on none. Micikevicius et al., "Mixed precision training", 2018.
///
/// Each rank makes one and calls, in each step of the training: scale, for the loss; unscale, once
/// the gradients are reduced; then clip_gradient_norm, if wanted; step; update. Used by its rank's
/// thread.
class gradient_scaler {
 public:
  /// For the calling rank of `world`, anything with rank(). Errors: usage_error for options out of
  /// bounds.
  template <class World>
  explicit gradient_scaler(const World& world, scaler_options options = {},
                           std::source_location where = std::source_location::current())
      : options_{options}, scale_{options.scale}, rank_{world.rank()} {
    const detail::calling call = named("gradient_scaler", where);
    check_scale(options.scale, call);
    if (!(options.growth > 1) || !std::isfinite(options.growth))
      call.refuse("the growth is " + std::to_string(options.growth) + "; it must be over 1");
    if (!(options.backoff > 0 && options.backoff < 1))
      call.refuse("the backoff is " + std::to_string(options.backoff) +
                  "; it must be between 0 and 1");
    if (options.interval < 1)
      call.refuse("the interval is " + std::to_string(options.interval) + "; it must be positive");
  }

  /// `loss` times the scale, for the backward pass to begin from. In accumulator<T>.
  template <detail::real_number T>
  T scale(T loss) const {
    using wide = accumulator<T>;
    return static_cast<T>(static_cast<wide>(loss) * static_cast<wide>(scale_));
  }

  /// Multiplies this rank's gradients by 1 / scale, in accumulator<T>, and asks all ranks whether
  /// any gradient was infinite or NaN: one all_reduce of an int. Every rank calls it once a step,
  /// after the reduction of the gradients. Returns step_allowed(), which is the same on every rank.
  /// A 16-bit gradient that is small again vanishes here: keep gradients in float where they are
  /// unscaled, as PyTorch asks for.
  /// Errors: usage_error, on every rank, if a rank calls it twice without update; those of
  /// all_reduce.
  template <communicator World, gradient_ranges Gradients>
  bool unscale(World& world, Gradients&& gradients,
               std::source_location where = std::source_location::current()) {
    if (stage_ != stage::scaled)
      named("gradient_scaler::unscale", where)
          .give_up(world, "the gradients have been unscaled already since the last update");
    int found = all_finite(gradients) ? 0 : 1;
    // As PyTorch: the reciprocal in double, then rounded, so that a double is multiplied alike.
    detail::multiply_gradients(gradients, static_cast<float>(1.0 / static_cast<double>(scale_)));
    all_reduce(world, std::span<int, 1>{&found, 1}, maximum{}, where);
    allowed_ = found == 0;
    stage_ = stage::unscaled;
    return allowed_;
  }

  /// Whether all gradients of all ranks were finite. Errors: usage_error before unscale.
  bool step_allowed(std::source_location where = std::source_location::current()) const {
    if (stage_ == stage::scaled)
      named("gradient_scaler::step_allowed", where).refuse("call unscale before it");
    return allowed_;
  }

  /// Calls `optimizer()` if all gradients of all ranks were finite, and returns whether. As every
  /// rank decides alike, `optimizer` may call collectives, such as those of data_parallel::step.
  /// Errors: usage_error before unscale, or if it is called twice without update; what `optimizer`
  /// throws.
  template <class Optimizer>
  bool step(Optimizer&& optimizer, std::source_location where = std::source_location::current()) {
    const detail::calling call = named("gradient_scaler::step", where);
    if (stage_ == stage::scaled) call.refuse("call unscale before it");
    if (stage_ == stage::stepped) call.refuse("it has been called already since the last update");
    stage_ = stage::stepped;
    if (allowed_) std::forward<Optimizer>(optimizer)();
    return allowed_;
  }

  /// Ends a step of the training: the scale shrinks if a gradient was not finite, and grows after
  /// `interval` steps in a row in which all were. It stays as it is where it would become infinite,
  /// as in PyTorch, or so small that its reciprocal would be: that would make gradients NaN behind
  /// the check.
  /// Errors: usage_error without unscale.
  void update(std::source_location where = std::source_location::current()) {
    if (stage_ == stage::scaled)
      named("gradient_scaler::update", where).refuse("call unscale before it");
    stage_ = stage::scaled;
    if (allowed_ && ++growth_tracker_ < options_.interval) return;
    growth_tracker_ = 0;
    const double factor = allowed_ ? options_.growth : options_.backoff;
    const auto changed = static_cast<float>(static_cast<double>(scale_) * factor);
    if (std::isnormal(changed)) scale_ = changed;
  }

  /// What the next loss is multiplied by.
  float scale() const { return scale_; }
  /// Good steps since the scale last changed or was left as it is.
  int growth_tracker() const { return growth_tracker_; }
  /// Goes on where a scaler was that had this scale and growth_tracker, at the beginning of a step.
  /// Errors: usage_error for a scale that is not positive, not finite or subnormal, or a
  /// negative tracker.
  void restore(float scale, int growth_tracker,
               std::source_location where = std::source_location::current()) {
    const detail::calling call = named("gradient_scaler::restore", where);
    check_scale(scale, call);
    if (growth_tracker < 0)
      call.refuse("the growth tracker is " + std::to_string(growth_tracker) +
                  "; it must not be negative");
    scale_ = scale;
    growth_tracker_ = growth_tracker;
    stage_ = stage::scaled;
  }

 private:
  /// What has been called since the last update.
  enum class stage : std::uint8_t { scaled, unscaled, stepped };

  detail::calling named(const char* function, std::source_location where) const {
    return {function, where, rank_};
  }
  static void check_scale(float scale, const detail::calling& call) {
    if (!(scale > 0) || !std::isnormal(scale))
      call.refuse("the scale is " + std::to_string(scale) +
                  "; it must be positive, finite and not subnormal");
  }
  template <class Gradients>
  static bool all_finite(Gradients& gradients) {
    bool finite = true;
    for (auto&& each : gradients) {
      const auto all = span_of(each);
      for (std::size_t i = 0; i < all.size(); ++i)
        finite &= std::isfinite(detail::to_double(all.data()[i]));
    }
    return finite;
  }

  scaler_options options_;
  float scale_;
  int growth_tracker_ = 0;
  int rank_;
  stage stage_ = stage::scaled;
  bool allowed_ = false;
};

}  // namespace allfold
