// Sending only the largest elements of a gradient.
#pragma once

#include <algorithm>
#include <allfold/data_parallel/compression.hpp>
#include <functional>

namespace allfold {

/// Each rank sends the largest elements of its gradient by magnitude, PerMille of a thousand and at
/// least one, with their places; every rank adds up what all ranks sent, in rank order. The rest
/// waits in the residual, and is added to the next gradient.
///
/// A rank sends 8 bytes for each of its k elements, and receives that from each other rank: it
/// gains while the number of ranks times k is well below the number of elements. A stretch of which
/// 8 k bytes are no fewer than all of it is reduced uncompressed. Of gradients of other types than
/// float, floats are sent. If a gradient holds an infinity or NaN on any rank, all elements are NaN
/// afterwards on every rank, and the residuals as they were before.
///
/// Errors: usage_error for 2^32 elements or more in a stretch, and if a restored residual does not
/// fit the stretch.
/// Aji, Heafield, "Sparse communication for distributed gradient descent", EMNLP 2017; Stich,
/// Cordonnier, Jaggi, "Sparsified SGD with memory", NeurIPS 2018.
template <int PerMille = 10, error_feedback Feedback = error_feedback::on>
class top_k : public byte_counters {
  static_assert(PerMille > 0 && PerMille <= 1000,
                "allfold: top_k<PerMille> sends between 1 and 1000 elements of a thousand");

 public:
  /// How many elements of `size` a rank sends: rounded up.
  static constexpr std::size_t sent_of(std::size_t size) {
    constexpr std::size_t part = PerMille;
    return size / 1000 * part + (size % 1000 * part + 999) / 1000;
  }

  template <class T, class Ranks>
  void combine(std::span<T> gradient, std::size_t index, Ranks& ranks) {
    const std::size_t bytes = sent_of(gradient.size()) * sizeof(entry);
    if (bytes >= gradient.size_bytes()) {
      ranks.reduce(gradient);
      count(gradient.size_bytes(), gradient.size_bytes());
      return;
    }
    if (gradient.size() > std::numeric_limits<std::uint32_t>::max())
      throw usage_error{"allfold: top_k on rank " + std::to_string(ranks.rank()) + ": stretch " +
                        std::to_string(index) + " of the gradients has " +
                        std::to_string(gradient.size()) + " elements; it must be below 2^32"};
    detail::as_floats(gradient, copy_,
                      [&](std::span<float> values) { exchange(values, index, ranks); });
    count(bytes, gradient.size_bytes());
  }

  template <class Visit>
  void visit_state(Visit&& visit) {
    if constexpr (Feedback == error_feedback::on) detail::visit_stretches(stretches_, visit);
  }
  std::size_t bytes_kept() const {
    return detail::bytes_held(copy_, sizes_, mine_, all_) + detail::bytes_of_stretches(stretches_);
  }

 private:
  struct entry {
    std::uint32_t place;
    float value;
  };

  template <class Ranks>
  void exchange(std::span<float> gradient, std::size_t index, Ranks& ranks) {
    std::span<float> residual;
    if constexpr (Feedback == error_feedback::on) {
      std::vector<float>& kept = detail::stretch_at(stretches_, index).residual;
      detail::fit(kept, gradient.size(), index);
      residual = kept;
      for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] += residual[i];
    }
    select(gradient);
    all_.resize(mine_.size() * static_cast<std::size_t>(ranks.size()));
    ranks.all_gather(std::span<const entry>{mine_}, std::span{all_});
    // What is not finite is largest of all, so it has been sent.
    if (!std::all_of(all_.begin(), all_.end(),
                     [](const entry& each) { return detail::is_finite(each.value); }))
      return detail::fill_with_nan(gradient);
    if constexpr (Feedback == error_feedback::on) {
      std::copy(gradient.begin(), gradient.end(), residual.begin());
      for (const entry& each : mine_) residual[each.place] = 0;
    }
    add_up(gradient, ranks.averages() ? ranks.size() : 1);
  }

  /// Fills `mine_` by place. Among equals the first ones are taken.
  void select(std::span<const float> values) {
    mine_.clear();
    sizes_.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) sizes_[i] = magnitude(values[i]);
    const std::size_t wanted = sent_of(values.size());
    const auto last = sizes_.begin() + static_cast<std::ptrdiff_t>(wanted - 1);
    std::nth_element(sizes_.begin(), last, sizes_.end(), std::greater<>{});
    const std::uint32_t least = *last;
    auto equals = std::count(sizes_.begin(), last + 1, least);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint32_t size = magnitude(values[i]);
      if (size > least || (size == least && equals-- > 0))
        mine_.push_back({static_cast<std::uint32_t>(i), values[i]});
    }
  }

  /// In the order of magnitudes, infinity above all numbers and NaN above infinity.
  static std::uint32_t magnitude(float value) {
    return detail::same_bits<std::uint32_t>(value) & 0x7fffffffu;
  }

  void add_up(std::span<float> gradient, int divisor) {
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    for (const entry& each : all_) gradient[each.place] += each.value;
    if (divisor != 1)
      for (float& each : gradient) each /= static_cast<float>(divisor);
  }

  std::vector<detail::residual_stretch> stretches_;
  std::vector<float> copy_;
  std::vector<std::uint32_t> sizes_;
  std::vector<entry> mine_, all_;
};

static_assert(compression<top_k<>>);

}  // namespace allfold
