// One rank's memory for a collective, filled with numbers whose result is known.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>

namespace peers {

/// Floats that begin at a page, as large buffers do. Grows as needed; much memory is given back
/// once less is needed.
class floats {
 public:
  float* of(std::size_t count) {
    constexpr std::size_t much = (std::size_t{32} << 20) / sizeof(float);
    if (count > capacity_ || (capacity_ > much && count < capacity_)) {
      data_.reset();
      constexpr std::size_t page = 4096;
      const std::size_t bytes = (count * sizeof(float) + page) / page * page;
      data_.reset(static_cast<float*>(std::aligned_alloc(page, bytes)));
      if (!data_) throw std::bad_alloc{};
      std::memset(data_.get(), 0, bytes);
      capacity_ = count;
    }
    return data_.get();
  }

 private:
  struct release {
    void operator()(float* it) const { std::free(it); }
  };
  std::unique_ptr<float, release> data_;
  std::size_t capacity_ = 0;
};

/// A rank's part in a collective of `bytes` bytes: of the larger end, what is given or what is got;
/// at least one float for each rank where it is divided. all_reduce and broadcast are in place, in
/// `out`.
class work {
 public:
  work(int rank, int size) : rank_{rank}, size_{size} {}

  void prepare(const std::string& collective, std::size_t bytes) {
    kind_ = collective;
    const auto ranks = static_cast<std::size_t>(size_);
    const bool divided = kind_ == "all_gather" || kind_ == "reduce_scatter" || kind_ == "scatter" ||
                         kind_ == "gather" || kind_ == "all_to_all";
    const std::size_t asked = bytes / sizeof(float);
    share_ = asked / ranks > 0 ? asked / ranks : 1;
    count_ = divided ? share_ * ranks : asked;
    out_ = output_.of(count_);
    const bool in_place = kind_ == "all_reduce" || kind_ == "broadcast";
    in_ = in_place ? out_ : input_.of(count_);
  }

  float* in() { return in_; }
  float* out() { return out_; }
  std::size_t count() const { return count_; }  ///< elements of the whole
  std::size_t share() const { return share_; }  ///< of which each rank has so many
  int rank() const { return rank_; }
  int size() const { return size_; }

  /// Sums of zeros, so that nothing overflows after any number of calls.
  void clear() {
    std::memset(out_, 0, count_ * sizeof(float));
    if (in_ != out_) std::memset(in_, 0, count_ * sizeof(float));
  }
  /// Element i of rank r is r + 1 + i % 7, before the collective.
  void fill() {
    for (std::size_t i = 0; i < count_; ++i) in_[i] = given(rank_, i);
    if (in_ != out_) std::memset(out_, 0, count_ * sizeof(float));
  }
  /// Whether `out` is what the collective must make of it; of many elements some are looked at.
  bool is_right() const {
    if (kind_ == "barrier") return true;
    if ((kind_ == "reduce" || kind_ == "gather") && rank_ != 0) return true;
    const std::size_t many = kind_ == "reduce_scatter" || kind_ == "scatter" ? share_ : count_;
    const std::size_t stride = many > (1 << 16) ? 61 : 1;
    for (std::size_t i = 0; i < many; i += stride)
      if (out_[i] != expected(i)) return false;
    return many == 0 || out_[many - 1] == expected(many - 1);
  }

 private:
  static float given(int rank, std::size_t i) {
    return static_cast<float>(rank + 1 + static_cast<int>(i % 7));
  }
  float sum_at(std::size_t i) const {
    float sum = 0;
    for (int rank = 0; rank < size_; ++rank) sum += given(rank, i);
    return sum;
  }
  float expected(std::size_t i) const {
    const auto own = static_cast<std::size_t>(rank_) * share_;
    const int from = static_cast<int>(i / share_);
    if (kind_ == "broadcast") return given(0, i);
    if (kind_ == "scatter") return given(0, own + i);
    if (kind_ == "all_gather" || kind_ == "gather") return given(from, i % share_);
    if (kind_ == "all_to_all") return given(from, own + i % share_);
    return sum_at(kind_ == "reduce_scatter" ? own + i : i);
  }

  int rank_, size_;
  std::string kind_;
  std::size_t count_ = 0, share_ = 1;
  floats input_, output_;
  float *in_ = nullptr, *out_ = nullptr;
};

}  // namespace peers
