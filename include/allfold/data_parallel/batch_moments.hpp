// Batch normalisation over the samples of all ranks: what PyTorch's SyncBatchNorm exchanges.
#pragma once

#include <allfold/collective/all_reduce.hpp>
#include <allfold/data_parallel/gradient_ranges.hpp>
#include <vector>

namespace allfold {

/// A contiguous array of `samples` × `channels` × `length` elements: sample n, channel c, place l
/// lies at element (n · channels + c) · length + l, so the strides are channels · length, length
/// and 1. PyTorch's (N, C, L); for (N, C, H, W), length = H · W; for (N, C), length = 1; for
/// channels last, (N, L, C), samples = N · L and length = 1. `samples` may be 0.
struct batch_shape {
  std::size_t samples, channels, length = 1;

  std::size_t size() const { return samples * channels * length; }
};

/// One channel's values: how many, their mean, and the sum of their squared distances from it.
struct channel_moments {
  double count = 0;
  double mean = 0;
  double squares = 0;

  /// Biased, as batches are normalised with.
  double variance() const { return squares / count; }
  /// Unbiased, as running statistics keep it; of two or more values.
  double unbiased_variance() const { return squares / (count - 1); }
};

/// One channel's sums of the gradient dy of the normalised output, for the backward pass.
struct channel_sums {
  double gradient = 0;   ///< Σ dy
  double deviation = 0;  ///< Σ dy · (x − mean)

  friend channel_sums operator+(const channel_sums& a, const channel_sums& b) {
    return {a.gradient + b.gradient, a.deviation + b.deviation};
  }
};

namespace detail {

/// The moments of two sets of values together; either may be empty. Chan, Golub and LeVeque,
/// "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
struct merge_moments {
  channel_moments operator()(const channel_moments& a, const channel_moments& b) const {
    if (b.count == 0) return a;
    if (a.count == 0) return b;
    const double count = a.count + b.count, apart = b.mean - a.mean;
    return {count, a.mean + apart * (b.count / count),
            a.squares + b.squares + apart * apart * (a.count * (b.count / count))};
  }
};

inline void check_batch(std::size_t given, std::size_t wanted, const char* what,
                        const calling& call) {
  if (given != wanted)
    call.refuse(std::string{"the "} + what + " has " + std::to_string(given) + " elements where " +
                std::to_string(wanted) + " are needed");
}

/// Calls visit(channel, element) for all elements of a batch, in the order that they lie in.
template <class Visit>
void for_each_element(const batch_shape& shape, Visit visit) {
  std::size_t element = 0;
  for (std::size_t sample = 0; sample < shape.samples; ++sample)
    for (std::size_t channel = 0; channel < shape.channels; ++channel)
      for (std::size_t place = 0; place < shape.length; ++place) visit(channel, element++);
}

}  // namespace detail

/// Elements of a batch in host memory, side by side: float, double or a 16-bit type.
template <class Range>
concept batch_elements = contiguous<Range> && detail::real_number<element_of<Range>> &&
                         range_access<std::remove_reference_t<Range>>::space == memory_space::host;

/// The moments of each channel of this rank's batch, in double: the mean first, then the distances
/// from it. Called by one rank; nothing is communicated. A batch without samples has count 0.
/// Errors: usage_error if `values` has not shape.size() elements.
template <batch_elements Values>
std::vector<channel_moments> local_moments(
    const Values& values, const batch_shape& shape,
    std::source_location where = std::source_location::current()) {
  const auto all = span_of(values);
  detail::check_batch(all.size(), shape.size(), "batch", {"local_moments", where});
  std::vector<channel_moments> moments(shape.channels);
  const auto count = static_cast<double>(shape.samples * shape.length);
  const auto value = [&](std::size_t i) { return detail::to_double(all.data()[i]); };
  detail::for_each_element(shape, [&](auto c, auto i) { moments[c].mean += value(i); });
  for (channel_moments& each : moments)
    if (count > 0) each = {count, each.mean / count, 0};
  detail::for_each_element(shape, [&](auto c, auto i) {
    const double apart = value(i) - moments[c].mean;
    moments[c].squares += apart * apart;
  });
  return moments;
}

/// The moments of each channel over all ranks, from those of each rank: one all_reduce of three
/// doubles a channel, folded in rank order, so every rank gets the same bits. Every rank calls it
/// with as many channels; ranks without samples give count 0, and any mean. For SyncBatchNorm's
/// forward pass: y = (x − mean) / √(variance() + ε) · weight + bias. Errors: usage_error, on every
/// rank, if a channel has no value on any rank; those of all_reduce, mismatch_error among them if
/// ranks have different numbers of channels.
template <communicator World>
std::vector<channel_moments> synchronized_moments(
    World& world, std::vector<channel_moments> moments,
    std::source_location where = std::source_location::current()) {
  all_reduce<detail::rank_order_on<World>>(world, moments, detail::merge_moments{}, where);
  for (std::size_t channel = 0; channel < moments.size(); ++channel)
    if (!(moments[channel].count > 0))
      detail::calling{"synchronized_moments", where, world.rank()}.refuse(
          "channel " + std::to_string(channel) + " has no value on any rank");
  return moments;
}

/// The two sums of each channel of this rank's batch, in double. `gradients` is dy and `values` x,
/// both of `shape`; `moments` are those over all ranks. Called by one rank; nothing is
/// communicated. Errors: usage_error if a size does not fit the shape.
template <batch_elements Gradients, batch_elements Values>
std::vector<channel_sums> local_sums(const Gradients& gradients, const Values& values,
                                     const batch_shape& shape,
                                     std::span<const channel_moments> moments,
                                     std::source_location where = std::source_location::current()) {
  const auto dy = span_of(gradients);
  const auto x = span_of(values);
  const detail::calling call{"local_sums", where};
  detail::check_batch(dy.size(), shape.size(), "gradient", call);
  detail::check_batch(x.size(), shape.size(), "batch", call);
  detail::check_batch(moments.size(), shape.channels, "list of moments", call);
  std::vector<channel_sums> sums(shape.channels);
  detail::for_each_element(shape, [&](auto c, auto i) {
    const double slope = detail::to_double(dy.data()[i]);
    sums[c].gradient += slope;
    sums[c].deviation += slope * (detail::to_double(x.data()[i]) - moments[c].mean);
  });
  return sums;
}

/// The sums of each channel over all ranks: one all_reduce of two doubles a channel, added in rank
/// order, so every rank gets the same bits. Every rank calls it with as many channels. For the
/// backward pass, with s = 1 / √(variance() + ε) and the count over all ranks:
/// dx = weight · s · (dy − gradient / count − (x − mean) · s² · deviation / count).
/// The gradients of weight and bias, deviation · s and gradient, are taken from the local sums if
/// a strategy reduces them afterwards like all others. Errors: those of all_reduce.
template <communicator World>
std::vector<channel_sums> synchronized_sums(
    World& world, std::vector<channel_sums> sums,
    std::source_location where = std::source_location::current()) {
  all_reduce<detail::rank_order_on<World>>(world, sums, sum{}, where);
  return sums;
}

/// Moves running statistics towards a batch's, as PyTorch does:
/// running = (1 − momentum) · running + momentum · batch, with the unbiased variance. `momentum` is
/// in [0, 1]; for PyTorch's cumulative average, momentum=None, it is 1 / batches so far. In double,
/// rounded once. Called by every rank with the moments over all ranks; nothing is communicated.
/// Errors: usage_error if a size is not the number of channels, if a channel has less than two
/// values, of which there is no unbiased variance, or for another momentum; then nothing has
/// changed.
template <batch_elements Means, batch_elements Variances>
void update_running_statistics(Means&& means, Variances&& variances,
                               std::span<const channel_moments> batch, double momentum = 0.1,
                               std::source_location where = std::source_location::current()) {
  const detail::calling call{"update_running_statistics", where};
  detail::check_batch(span_of(means).size(), batch.size(), "running mean", call);
  detail::check_batch(span_of(variances).size(), batch.size(), "running variance", call);
  if (!(momentum >= 0 && momentum <= 1))
    call.refuse("the momentum is " + std::to_string(momentum) + "; it must be in [0, 1]");
  for (std::size_t c = 0; c < batch.size(); ++c)
    if (!(batch[c].count >= 2))
      call.refuse("channel " + std::to_string(c) + " has less than two values");
  const auto move = [momentum]<class T>(T& running, double to) {
    running = static_cast<T>(
        static_cast<accumulator<T>>((1 - momentum) * detail::to_double(running) + momentum * to));
  };
  for (std::size_t c = 0; c < batch.size(); ++c) {
    move(span_of(means).data()[c], batch[c].mean);
    move(span_of(variances).data()[c], batch[c].unbiased_variance());
  }
}

}  // namespace allfold
