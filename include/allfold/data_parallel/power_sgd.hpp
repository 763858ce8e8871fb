// Sending a gradient as the product of two thin matrices.
#pragma once

#include <algorithm>
#include <allfold/data_parallel/compression.hpp>
#include <allfold/data_parallel/mersenne_twister.hpp>
#include <cmath>

namespace allfold {

/// How power_sgd goes about it. Every rank chooses the same.
struct power_sgd_options {
  std::uint64_t start_step = 0;  ///< steps that are reduced uncompressed before the first other one
  error_feedback feedback = error_feedback::on;
  bool warm_start = true;  ///< begin with the Q of the step before; else with a new random one
  std::uint64_t seed = 0;  ///< chooses the random numbers
};

/// How long the rows are of the matrix that a stretch is viewed as: so long that it is as square as
/// can be. Where each bucket is one weight matrix, a type of your own knows better.
struct square_rows {
  static std::size_t length(std::size_t size) {
    auto root = static_cast<std::size_t>(std::sqrt(static_cast<double>(size)));
    while (root * root < size) ++root;
    return root;
  }
};

namespace detail {

/// A stretch of `size` elements as a matrix, one contiguous row behind the other; the last row may
/// be shorter.
struct matrix_shape {
  std::size_t rows, columns;

  matrix_shape(std::size_t size, std::size_t row)
      : rows{size == 0 ? 0 : (size + row - 1) / row}, columns{row} {}
};

/// As square as `size` elements allow.
struct near_square : matrix_shape {
  explicit near_square(std::size_t size) : matrix_shape{size, square_rows::length(size)} {}
};

/// Calls work(row, left, part) for parts of rows that begin at column `left`: tile by tile, so that
/// the columns of the thin matrix that a part meets stay in the cache for all rows.
template <class Work>
void in_tiles(std::span<float> matrix, std::size_t columns, Work work, std::size_t tile = 1024) {
  for (std::size_t left = 0; left < columns; left += tile)
    for (std::size_t row = 0; row * columns + left < matrix.size(); ++row) {
      const std::size_t begin = row * columns + left;
      const std::size_t end =
          std::min(row * columns + std::min(left + tile, columns), matrix.size());
      work(row, left, matrix.subspan(begin, end - begin));
    }
}

/// to[j] += factor · from[j]. Apart from each other.
inline void add_multiple(float* __restrict to, float factor, const float* __restrict from,
                         std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) to[j] += factor * from[j];
}

/// The sum of a[j] · b[j], in 16 sums side by side, which a compiler may keep in vectors.
inline float inner_product(const float* a, const float* b, std::size_t count) {
  constexpr std::size_t lanes = 16;
  float sums[lanes]{};
  std::size_t j = 0;
  for (; j + lanes <= count; j += lanes)
    for (std::size_t lane = 0; lane < lanes; ++lane) sums[lane] += a[j + lane] * b[j + lane];
  for (; j < count; ++j) sums[j % lanes] += a[j] * b[j];
  float total = 0;
  for (const float each : sums) total += each;
  return total;
}

/// In double, whose range holds the squares of all floats.
inline double wide_product(std::span<const float> a, std::span<const float> b) {
  double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    total += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return total;
}

/// Makes `column` a unit vector at right angles to the vectors in `earlier`; false, leaving zeros,
/// if less than `epsilon` of its length is left: then it points where they do.
inline bool make_orthonormal(std::span<float> column, std::span<const float> earlier) {
  constexpr double epsilon = 1e-6;
  const double before = std::sqrt(wide_product(column, column));
  for (int pass = 0; pass < 2; ++pass)  // the second removes what rounding left in the first
    for (std::size_t begin = 0; begin < earlier.size(); begin += column.size()) {
      const auto other = earlier.subspan(begin, column.size());
      const auto along = static_cast<float>(wide_product(other, column));
      add_multiple(column.data(), -along, other.data(), column.size());
    }
  const double left = std::sqrt(wide_product(column, column));
  const bool stands = left > epsilon * before;
  for (float& each : column) each = stands ? static_cast<float>(each / left) : 0.0f;
  return stands;
}

/// Modified Gram-Schmidt on vectors of `length`, one behind the other. `replace(vector, k)` may put
/// another vector for the k-th one if that depends on those before it.
template <class Replace>
void orthonormalize(std::span<float> vectors, std::size_t length, Replace replace) {
  for (std::size_t k = 0; k * length < vectors.size(); ++k) {
    const auto vector = vectors.subspan(k * length, length), earlier = vectors.first(k * length);
    if (make_orthonormal(vector, earlier)) continue;
    replace(vector, k);
    make_orthonormal(vector, earlier);
  }
}

}  // namespace detail

/// Views a stretch as a matrix M, of about √n × √n elements unless `Rows` says otherwise, and
/// combines P Qᵀ for it, with `Rank` columns in P and Q: one step of power iteration from the Q of
/// the step before. P = M Q is reduced over the ranks and made orthonormal, Q = Mᵀ P is reduced,
/// and the gradient is P Qᵀ, the best that these P allow. What a rank's own matrix has beyond is
/// added to its next gradient.
///
/// A rank sends (rows + columns) · Rank floats, about 2 √n Rank instead of n. Stretches to which
/// that is no gain are reduced uncompressed. It multiplies and adds about 4 n Rank times and keeps
/// n floats. Gradients of other types than float are computed with in float. If a gradient holds an
/// infinity or NaN on any rank, all elements are NaN afterwards on every rank, and the residuals as
/// they were before. Ranks must run the same program on processors alike: each computes P Qᵀ.
///
/// Errors: usage_error if restored state does not fit the stretch or the rank.
/// Vogels, Karimireddy, Jaggi, "PowerSGD: practical low-rank gradient compression for distributed
/// optimization", NeurIPS 2019, algorithms 1 and 2; the view as a square is that of PyTorch's
/// batched_powerSGD_hook.
template <int Rank = 1, power_sgd_options Options = power_sgd_options{}, class Rows = square_rows>
class power_sgd : public byte_counters {
  static_assert(Rank > 0, "allfold: power_sgd<Rank> needs at least one column");

 public:
  template <class T, class Ranks>
  void combine(std::span<T> gradient, std::size_t index, Ranks& ranks) {
    const detail::matrix_shape shape{gradient.size(), Rows::length(gradient.size())};
    const std::size_t bytes = (shape.rows + shape.columns) * columns * sizeof(float);
    stretch& state = detail::stretch_at(stretches_, index);
    if (state.steps++ < Options.start_step || bytes >= gradient.size_bytes()) {
      ranks.reduce(gradient);
      count(gradient.size_bytes(), gradient.size_bytes());
      return;
    }
    detail::as_floats(gradient, copy_, [&](std::span<float> matrix) {
      if constexpr (has_feedback) {
        detail::fit(state.residual, matrix.size(), index);
        for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] += state.residual[i];
      }
      begin(state, shape, index);
      approximate(matrix, shape, state, ranks);
    });
    count(bytes, gradient.size_bytes());
  }

  template <class Visit>
  void visit_state(Visit&& visit) {
    detail::visit_stretches(stretches_, visit);
  }
  std::size_t bytes_kept() const {
    return detail::bytes_held(copy_, p_, own_q_, q_) + detail::bytes_of_stretches(stretches_);
  }

 private:
  static constexpr std::size_t columns = Rank;
  static constexpr bool has_feedback = Options.feedback == error_feedback::on;

  // Thin matrices lie column behind column.
  struct stretch {
    std::uint64_t steps = 0;
    std::vector<float> residual, q;

    template <class Visit>
    void visit_state(Visit visit) {
      visit("steps", steps);
      visit("residual", residual);
      visit("q", q);
    }
    std::size_t bytes_kept() const { return detail::bytes_held(residual, q); }
  };

  /// An orthonormal Q to begin with, the same on all ranks. A column that has come to nothing, as
  /// where the gradients had a lower rank, begins anew.
  static void begin(stretch& state, detail::matrix_shape shape, std::size_t index) {
    detail::fit(state.q, shape.columns * columns, index);
    if (!Options.warm_start) std::fill(state.q.begin(), state.q.end(), 0.0f);
    detail::orthonormalize(state.q, shape.columns, [&](std::span<float> column, std::size_t k) {
      const std::uint64_t place = (state.steps * columns + k) * 0x9e3779b97f4a7c15u + index;
      mersenne_twister random{Options.seed ^ (place >> 32) ^ place};
      for (float& each : column)
        each = static_cast<float>(random() >> 8) * 0x1p-23f - 1.0f;  // in [−1, 1)
    });
  }

  /// Replaces `matrix` by the approximation of its combination over the ranks.
  template <class Ranks>
  void approximate(std::span<float> matrix, detail::matrix_shape shape, stretch& state,
                   Ranks& ranks) {
    p_.assign(shape.rows * columns, 0.0f);
    detail::in_tiles(matrix, shape.columns, [&](std::size_t row, std::size_t left, auto part) {
      for (std::size_t k = 0; k < columns; ++k)
        p_[k * shape.rows + row] +=
            detail::inner_product(part.data(), &state.q[k * shape.columns + left], part.size());
    });
    ranks.reduce(std::span{p_});
    if (!detail::all_finite(p_)) return detail::fill_with_nan(matrix);
    detail::orthonormalize(p_, shape.rows, [](auto, auto) {});  // zeros do as well as anything

    own_q_.assign(shape.columns * columns, 0.0f);
    detail::in_tiles(matrix, shape.columns, [&](std::size_t row, std::size_t left, auto part) {
      for (std::size_t k = 0; k < columns; ++k)
        detail::add_multiple(&own_q_[k * shape.columns + left], p_[k * shape.rows + row],
                             part.data(), part.size());
    });
    q_ = own_q_;
    ranks.reduce(std::span{q_});
    if (!detail::all_finite(q_)) return detail::fill_with_nan(matrix);
    expand(matrix, shape, state);
    std::swap(state.q, q_);
  }

  /// The residual is the rank's own matrix without its own share of P Qᵀ.
  void expand(std::span<float> matrix, detail::matrix_shape shape, stretch& state) {
    detail::in_tiles(matrix, shape.columns, [&](std::size_t row, std::size_t left, auto part) {
      if constexpr (has_feedback) {
        float* const rest = &state.residual[row * shape.columns + left];
        std::copy(part.begin(), part.end(), rest);
        for (std::size_t k = 0; k < columns; ++k)
          detail::add_multiple(rest, -p_[k * shape.rows + row], &own_q_[k * shape.columns + left],
                               part.size());
      }
      std::fill(part.begin(), part.end(), 0.0f);
      for (std::size_t k = 0; k < columns; ++k)
        detail::add_multiple(part.data(), p_[k * shape.rows + row], &q_[k * shape.columns + left],
                             part.size());
    });
  }

  std::vector<stretch> stretches_;
  std::vector<float> copy_, p_, own_q_, q_;
};

static_assert(compression<power_sgd<>>);

}  // namespace allfold
