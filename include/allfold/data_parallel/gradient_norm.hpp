// How large all gradients are together, and clipping them: PyTorch's clip_grad_norm_.
#pragma once

#include <allfold/collective/all_reduce.hpp>
#include <allfold/data_parallel/gradient_ranges.hpp>
#include <cmath>
#include <limits>

namespace allfold {

/// What clip_gradient_norm does if the norm is infinite or NaN.
enum class nonfinite : std::uint8_t {
  scale,  ///< scales as ever, so that elements become 0 or NaN; PyTorch's default
  leave,  ///< leaves the gradients alone; the norm that is returned tells
  fail    ///< throws a usage_error; PyTorch's error_if_nonfinite
};

/// How clip_gradient_norm measures. Every rank must choose the same.
struct clip_options {
  double norm = 2;  ///< 1, 2 or infinity
  nonfinite on_nonfinite = nonfinite::scale;
};

namespace detail {

/// Of two sizes the larger one, and NaN before all: `maximum` would lose a NaN on the right.
struct larger_or_nan {
  double operator()(double a, double b) const { return b > a || b != b ? b : a; }
};
/// The 2-norm of two parts together, from the norm of each. Squares of norms might overflow.
struct root_of_squares {
  double operator()(double a, double b) const {
    return std::isnan(a + b) ? a + b : std::hypot(a, b);  // hypot(infinity, NaN) is infinity
  }
};

/// The terms of all elements, added in double. Eight sums go on side by side, so that no addition
/// waits for the one before; the order depends on nothing but the gradients' sizes.
template <class Gradients, class Term>
double sum_of_terms(Gradients& gradients, Term term) {
  constexpr std::size_t lanes = 8;
  double total = 0;
  for (auto&& each : gradients) {
    const auto all = span_of(each);
    const std::size_t whole = all.size() / lanes * lanes;
    double sums[lanes] = {};
    for (std::size_t first = 0; first < whole; first += lanes)
      for (std::size_t i = 0; i < lanes; ++i) sums[i] += term(to_double(all.data()[first + i]));
    for (std::size_t i = whole; i < all.size(); ++i)
      sums[i - whole] += term(to_double(all.data()[i]));
    total +=
        ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
  }
  return total;
}

template <class Gradients>
double largest_size(Gradients& gradients) {
  double largest = 0;
  for (auto&& each : gradients) {
    const auto all = span_of(each);
    for (std::size_t i = 0; i < all.size(); ++i)
      largest = larger_or_nan{}(largest, std::abs(to_double(all.data()[i])));
  }
  return largest;
}

/// The square of a float always fits a double. That of a double may not: then the elements are
/// measured in a unit near the largest of them, a power of two, so that nothing else is rounded.
template <class Gradients>
double euclidean_norm(Gradients& gradients) {
  if constexpr (std::same_as<range_element<Gradients>, double>) {
    const double largest = largest_size(gradients);
    if (std::isfinite(largest) && largest > 0 && (largest > 0x1p400 || largest < 0x1p-400)) {
      const double unit = std::ldexp(1.0, std::ilogb(largest));
      return unit * std::sqrt(sum_of_terms(gradients,
                                           [unit](double x) { return (x / unit) * (x / unit); }));
    }
  }
  return std::sqrt(sum_of_terms(gradients, [](double x) { return x * x; }));
}

/// Why `p` or `max_norm` can't be; empty if they can.
inline std::string flaw_of_norm(double p, double max_norm = 0) {
  if (p != 1 && p != 2 && p != std::numeric_limits<double>::infinity())
    return "the norm is " + std::to_string(p) + "; it must be 1, 2 or infinity";
  if (!(max_norm >= 0))
    return "the largest norm is " + std::to_string(max_norm) + "; it must not be negative";
  return {};
}

template <class Gradients>
double own_norm(Gradients& gradients, double p) {
  if (p == 2) return euclidean_norm(gradients);
  if (p == 1) return sum_of_terms(gradients, [](double x) { return std::abs(x); });
  return largest_size(gradients);
}

/// The norm of all ranks' parts, from each part's, folded in rank order. Ranks that measure by
/// different norms bring different operations, and so get a mismatch_error.
template <class World>
double norm_over_ranks(World& world, double part, double p, std::source_location where) {
  const std::span<double, 1> all{&part, 1};
  if (p == 2)
    all_reduce<rank_order_on<World>>(world, all, root_of_squares{}, where);
  else if (p == 1)
    all_reduce<rank_order_on<World>>(world, all, sum{}, where);
  else
    all_reduce<rank_order_on<World>>(world, all, larger_or_nan{}, where);
  return part;
}

/// Scales gradients whose norm is known. The comparison is false for NaN, which is to spread.
template <class Gradients>
void clip_to(Gradients& gradients, double norm, double max_norm, nonfinite choice,
             const calling& call) {
  if (!std::isfinite(norm)) {
    if (choice == nonfinite::fail)
      call.refuse("the norm of the gradients is " + std::to_string(norm));
    if (choice == nonfinite::leave) return;
  }
  const double factor = max_norm / (norm + 1e-6);
  if (!(factor >= 1)) multiply_gradients(gradients, factor);
}

}  // namespace detail

/// The p-norm of all elements of all gradients, as if they were one vector: 1, the sum of sizes; 2,
/// the root of the sum of squares; infinity, the largest size. 0 if there are none; NaN if any
/// element is. Called by one rank, and nothing is communicated: after the reduction by a
/// `distributed` strategy all ranks hold the same gradients, and so get the same bits, because
/// elements are added in double and in an order that only the gradients' sizes choose.
/// Errors: usage_error for another p.
template <gradient_ranges Gradients>
double gradient_norm(Gradients&& gradients, double p = 2,
                     std::source_location where = std::source_location::current()) {
  const std::string flaw = detail::flaw_of_norm(p);
  if (!flaw.empty()) detail::calling{"gradient_norm", where}.refuse(flaw);
  return detail::own_norm(gradients, p);
}

/// The same of gradients that are divided over the ranks, each of which gives its part, which may
/// be empty. Every rank calls it and gets the same bits: one all_reduce of a double, in rank order.
/// Errors: those of all_reduce too; mismatch_error if ranks choose different norms.
template <communicator World, gradient_ranges Gradients>
double gradient_norm(World& world, Gradients&& gradients, double p = 2,
                     std::source_location where = std::source_location::current()) {
  const std::string flaw = detail::flaw_of_norm(p);
  if (!flaw.empty()) detail::calling{"gradient_norm", where, world.rank()}.give_up(world, flaw);
  return detail::norm_over_ranks(world, detail::own_norm(gradients, p), p, where);
}

/// Scales all gradients by max_norm / (norm + 1e-6) if that is less than 1, each element in
/// accumulator<T>, and returns the norm that they had before, as gradient_norm does. PyTorch's
/// torch.nn.utils.clip_grad_norm_, after Pascanu, Mikolov and Bengio, "On the difficulty of
/// training recurrent neural networks", 2013.
/// Called between the reduction of the gradients and the step, by every rank that steps; nothing is
/// communicated, because a `distributed` strategy has left the same gradients on all ranks. Under
/// `primary_device` what counts is the root's call.
/// Errors: usage_error for another norm than 1, 2 or infinity, for a max_norm that is negative or
/// NaN, and for a norm that is not finite with nonfinite::fail; then no gradient has changed.
template <gradient_ranges Gradients>
double clip_gradient_norm(Gradients&& gradients, double max_norm, clip_options options = {},
                          std::source_location where = std::source_location::current()) {
  const detail::calling call{"clip_gradient_norm", where};
  const std::string flaw = detail::flaw_of_norm(options.norm, max_norm);
  if (!flaw.empty()) call.refuse(flaw);
  const double norm = detail::own_norm(gradients, options.norm);
  detail::clip_to(gradients, norm, max_norm, options.on_nonfinite, call);
  return norm;
}

/// The same for gradients that are divided over the ranks: each gives its part, which is scaled by
/// the norm of all. Every rank calls it with the same max_norm and options, and gets the same
/// bits. Errors: those of all_reduce too; mismatch_error if ranks choose different norms.
template <communicator World, gradient_ranges Gradients>
double clip_gradient_norm(World& world, Gradients&& gradients, double max_norm,
                          clip_options options = {},
                          std::source_location where = std::source_location::current()) {
  const detail::calling call{"clip_gradient_norm", where, world.rank()};
  const std::string flaw = detail::flaw_of_norm(options.norm, max_norm);
  if (!flaw.empty()) call.give_up(world, flaw);
  const double part = detail::own_norm(gradients, options.norm);
  const double norm = detail::norm_over_ranks(world, part, options.norm, where);
  detail::clip_to(gradients, norm, max_norm, options.on_nonfinite, call);
  return norm;
}

}  // namespace allfold
