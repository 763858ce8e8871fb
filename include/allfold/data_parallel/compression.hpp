// Combining gradients over the ranks in fewer bytes: what a compression is, and the simple ones.
#pragma once

#include <algorithm>
#include <allfold/error.hpp>
#include <allfold/half.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace allfold {

namespace detail {

/// What a compression is given to reach the other ranks: an archetype.
struct any_ranks {
  int rank();
  int size();
  /// Whether `reduce` divides by the number of ranks.
  bool averages();
  /// Folds over all ranks in place, as the strategy does.
  template <class U>
  void reduce(std::span<U> data);
  /// Puts rank r's `mine` at [r · n, (r + 1) · n) of `all`, n being the size of `mine`.
  template <class U>
  void all_gather(std::span<const U> mine, std::span<U> all);
};

}  // namespace detail

/// A compression of gradients of T: combines one contiguous stretch of gradients over all ranks,
/// exactly or nearly, into the same bits on all of them. A replica owns one object, which one
/// thread uses at a time.
///
/// `combine(gradient, index, ranks)` is called on every rank for the same stretch: `index` numbers
/// the replica's stretches from 0, and the size of a stretch never changes, so a compression may
/// keep state for each. Afterwards `gradient` holds about what `ranks.reduce(gradient)` would have
/// left there: the sum over the ranks, or the mean if `ranks.averages()`. `ranks` has the functions
/// of the archetype above; whatever it is asked for, all ranks ask for in the same order.
///
/// A compression may also have
///  - `visit_state(visit)`, which calls visit(name, value) for each piece of its state: the name is
///    a std::string, the value a std::uint64_t& or a std::vector<float>&. If the visitor assigns
///    the values that another visit saw, the object goes on as the other would have. What a rank
///    keeps is its own, and no other rank's;
///  - `bytes_sent()` and `bytes_uncompressed()`;
///  - `bytes_kept()`, the memory that it holds from step to step.
template <class Type, class T = float>
concept compression = std::default_initializable<Type> &&
    requires(Type it, std::span<T> gradient, std::size_t index, detail::any_ranks ranks) {
  it.combine(gradient, index, ranks);
};

/// Whether a rank remembers what a compression left out of its gradient, and adds it to the next
/// one. Then nothing is lost, only late. It takes memory for one float an element.
/// Karimireddy, Rebjock, Stich, Jaggi, "Error feedback fixes SignSGD and other gradient compression
/// schemes", ICML 2019.
enum class error_feedback : std::uint8_t { off, on };

/// Counts what one rank brought to collectives since it was made; not part of the saved state.
class byte_counters {
 public:
  /// Bytes that this rank brought.
  std::uint64_t bytes_sent() const { return sent_; }
  /// Bytes that it would have brought uncompressed.
  std::uint64_t bytes_uncompressed() const { return uncompressed_; }

 protected:
  void count(std::size_t sent, std::size_t uncompressed) {
    sent_ += sent;
    uncompressed_ += uncompressed;
  }

 private:
  std::uint64_t sent_ = 0;
  std::uint64_t uncompressed_ = 0;
};

namespace detail {

/// Neither infinite nor NaN, also where the compiler was told that there are none.
constexpr bool is_finite(float value) {
  return (same_bits<std::uint32_t>(value) & 0x7f800000u) != 0x7f800000u;
}
inline bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), is_finite);
}
inline void fill_with_nan(std::span<float> values) {
  std::fill(values.begin(), values.end(), std::numeric_limits<float>::quiet_NaN());
}

/// Calls `work` with the gradient as floats: with itself, or with a copy that is written back.
template <class T, class Work>
void as_floats(std::span<T> gradient, std::vector<float>& copy, Work work) {
  static_assert(std::floating_point<T> || half_precision<T>,
                "allfold: gradients are compressed only if they are floating-point numbers");
  if constexpr (std::same_as<T, float>) {
    work(gradient);
  } else {
    copy.resize(gradient.size());
    for (std::size_t i = 0; i < copy.size(); ++i) copy[i] = static_cast<float>(gradient[i]);
    work(std::span{copy});
    for (std::size_t i = 0; i < copy.size(); ++i) gradient[i] = static_cast<T>(copy[i]);
  }
}

/// The state of stretch `index`, a new one if there was none.
template <class Stretch>
Stretch& stretch_at(std::vector<Stretch>& all, std::size_t index) {
  if (index >= all.size()) all.resize(index + 1);
  return all[index];
}

/// Zeros where there is nothing yet. Throws usage_error if there are too many or too few.
inline void fit(std::vector<float>& state, std::size_t size, std::size_t index) {
  if (state.empty()) state.resize(size);
  if (state.size() != size)
    throw usage_error{"allfold: the state of stretch " + std::to_string(index) +
                      " of the gradients has " + std::to_string(state.size()) +
                      " numbers, and needs " + std::to_string(size)};
}

/// The memory that `all` hold, in bytes.
template <class... T>
std::size_t bytes_held(const std::vector<T>&... all) {
  return (std::size_t{0} + ... + (all.capacity() * sizeof(T)));
}
/// The memory that stretches' own vectors hold, in bytes.
template <class Stretch>
std::size_t bytes_of_stretches(const std::vector<Stretch>& all) {
  std::size_t bytes = 0;
  for (const Stretch& each : all) bytes += each.bytes_kept();
  return bytes;
}

/// Visits how many stretches there are, which the visitor may change, and each one's pieces under
/// the name "<index>.<piece>".
template <class Stretch, class Visit>
void visit_stretches(std::vector<Stretch>& all, Visit& visit) {
  std::uint64_t count = all.size();
  visit(std::string{"stretches"}, count);
  all.resize(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i].visit_state(
        [&](const char* piece, auto& value) { visit(std::to_string(i) + "." + piece, value); });
}

/// What the compressions that keep nothing but error feedback know of a stretch.
struct residual_stretch {
  std::vector<float> residual;

  template <class Visit>
  void visit_state(Visit visit) {
    visit("residual", residual);
  }
  std::size_t bytes_kept() const { return bytes_held(residual); }
};

}  // namespace detail

/// No compression: what the strategy does by itself.
class uncompressed : public byte_counters {
 public:
  template <class T, class Ranks>
  void combine(std::span<T> gradient, std::size_t, Ranks& ranks) {
    ranks.reduce(gradient);
    count_reduced(gradient.size_bytes());
  }
  /// So many bytes of gradients were reduced without `combine`.
  void count_reduced(std::size_t bytes) { count(bytes, bytes); }
  template <class Visit>
  void visit_state(Visit&&) {}
};

/// Sends gradients as `Narrow`: bfloat16, half, or another 16-bit floating-point type. Each rank
/// rounds its gradient once; the ranks' are folded in float and rounded as the strategy's algorithm
/// rounds elements of that type: `direct` and `primary` once, at the end. Gradients that have 16
/// bits already stay as they are.
///
/// half holds numbers up to 65504, the sum of the ranks and what the algorithm adds up on its way
/// included, and becomes infinite beyond; so scale the loss, or take bfloat16, which has the range
/// of float and 8 bits of precision instead of 11. What does not fit is not remembered.
/// PyTorch's fp16_compress_hook and bf16_compress_hook.
template <half_precision Narrow, error_feedback Feedback = error_feedback::off>
class wire : public byte_counters {
 public:
  template <class T, class Ranks>
  void combine(std::span<T> gradient, std::size_t index, Ranks& ranks) {
    static_assert(std::floating_point<T> || half_precision<T>,
                  "allfold: gradients are compressed only if they are floating-point numbers");
    if constexpr (half_precision<T>) {
      ranks.reduce(gradient);
      count(gradient.size_bytes(), gradient.size_bytes());
    } else {
      narrow_.resize(gradient.size());
      round(std::span<const T>{gradient}, index);
      ranks.reduce(std::span{narrow_});
      for (std::size_t i = 0; i < narrow_.size(); ++i)
        gradient[i] = static_cast<T>(static_cast<float>(narrow_[i]));
      count(narrow_.size() * sizeof(Narrow), gradient.size_bytes());
    }
  }

  template <class Visit>
  void visit_state(Visit&& visit) {
    if constexpr (Feedback == error_feedback::on) detail::visit_stretches(stretches_, visit);
  }
  std::size_t bytes_kept() const {
    return detail::bytes_held(narrow_) + detail::bytes_of_stretches(stretches_);
  }

 private:
  template <class T>
  void round(std::span<const T> gradient, std::size_t index) {
    if constexpr (Feedback == error_feedback::on) {
      std::vector<float>& residual = detail::stretch_at(stretches_, index).residual;
      detail::fit(residual, gradient.size(), index);
      for (std::size_t i = 0; i < narrow_.size(); ++i) {
        const float own = static_cast<float>(gradient[i]) + residual[i];
        narrow_[i] = static_cast<Narrow>(own);
        const float rest = own - static_cast<float>(narrow_[i]);
        residual[i] = detail::is_finite(rest) ? rest : 0.0f;
      }
    } else {
      for (std::size_t i = 0; i < narrow_.size(); ++i)
        narrow_[i] = static_cast<Narrow>(static_cast<float>(gradient[i]));
    }
  }

  std::vector<Narrow> narrow_;
  std::vector<detail::residual_stretch> stretches_;
};

static_assert(compression<uncompressed> && compression<wire<bfloat16>> && compression<wire<half>>);

}  // namespace allfold
