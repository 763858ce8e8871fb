// Writes event files, which TensorBoard shows.
#pragma once

#include <allfold/observe/output_file.hpp>
#include <allfold/observe/protobuf.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iterator>
#include <limits>
#include <vector>

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

namespace allfold {

namespace detail {

/// Where TensorFlow's histograms divide the numbers, in ascending order: at 0, at ±1e-12, and from
/// there at steps of a tenth up to ±1e20. A bucket holds what is below its limit and not below the
/// limit before.
inline const std::vector<double>& bucket_limits() {
  static const std::vector<double> limits = [] {
    std::vector<double> above;
    for (double limit = 1e-12; limit < 1e20; limit *= 1.1) above.push_back(limit);
    above.push_back(std::numeric_limits<double>::max());
    std::vector<double> all;
    std::transform(above.rbegin(), above.rend(), std::back_inserter(all), std::negate<>{});
    all.push_back(0);
    all.insert(all.end(), above.begin(), above.end());
    return all;
  }();
  return limits;
}

/// What TensorBoard draws a distribution from.
class histogram {
 public:
  /// False for a value that is not finite, which is left out.
  bool add(double value) {
    if (!std::isfinite(value)) return false;
    const std::vector<double>& limits = bucket_limits();
    const auto found = std::upper_bound(limits.begin(), limits.end() - 1, value);
    ++counts_[static_cast<std::size_t>(found - limits.begin())];
    min_ = count_ == 0 ? value : std::min(min_, value);
    max_ = count_ == 0 ? value : std::max(max_, value);
    ++count_;
    sum_ += value;
    squares_ += value * value;
    return true;
  }

  /// A HistogramProto. Empty buckets side by side are one, as in TensorFlow's files.
  protobuf_message message() const {
    std::vector<double> limits, counts;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] == 0 && !counts.empty() && counts.back() == 0)
        limits.back() = bucket_limits()[i];
      else {
        limits.push_back(bucket_limits()[i]);
        counts.push_back(counts_[i]);
      }
    }
    protobuf_message it;
    it.real(1, min_);
    it.real(2, max_);
    it.real(3, count_);
    it.real(4, sum_);
    it.real(5, squares_);
    it.reals(6, limits);
    it.reals(7, counts);
    return it;
  }

 private:
  std::vector<double> counts_ = std::vector<double>(bucket_limits().size());
  double count_ = 0, min_ = 0, max_ = 0, sum_ = 0, squares_ = 0;
};

/// events.out.tfevents.<seconds>.<host>.<process>.<how many writers this process had before>
inline std::string event_file_name() {
  static std::atomic<unsigned> writers{0};
  std::string host = "localhost";
  long process = 0;
#if __has_include(<unistd.h>)
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) == 0 && name[0] != '\0') host = name;
  process = static_cast<long>(getpid());
#endif
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return "events.out.tfevents." +
         std::to_string(std::chrono::duration_cast<std::chrono::seconds>(now).count()) + '.' +
         host + '.' + std::to_string(process) + '.' + std::to_string(writers++);
}

}  // namespace detail

/// Writes an event file of its own into a folder, for TensorBoard: `tensorboard --logdir <folder>`.
/// Used by one thread, usually rank 0's. Values may stay in memory until `flush`; TensorBoard shows
/// them afterwards. Every function throws allfold::error naming the file if it can't be written.
class tensorboard_writer {
 public:
  /// Makes the folder if it does not exist.
  explicit tensorboard_writer(const std::string& folder)
      : file_{"tensorboard_writer", path_in(folder)} {
    detail::protobuf_message event = event_at(0);
    event.text(3, "brain.Event:2");
    file_.write(detail::tf_record(event.bytes()));
    file_.flush();
  }

  /// A point of the curve `tag`. It is stored as a float.
  void scalar(std::string_view tag, double value, std::int64_t step) {
    detail::protobuf_message it;
    it.text(1, tag);
    it.real(2, static_cast<float>(value));
    write(it, step);
  }

  /// The distribution of some values at a step. Values that are not finite are left out; returns
  /// how many those were.
  std::size_t histogram(std::string_view tag, std::span<const float> values, std::int64_t step) {
    return distribution(tag, values, step);
  }
  std::size_t histogram(std::string_view tag, std::span<const double> values, std::int64_t step) {
    return distribution(tag, values, step);
  }

  /// Writes values that have a name and a value, and flushes: a sink of `metrics`, by std::ref.
  template <class Values>
  void operator()(std::int64_t step, const Values& values) {
    for (const auto& each : values) scalar(each.name, each.value, step);
    flush();
  }

  /// Hands everything to the operating system.
  void flush() { file_.flush(); }
  const std::string& path() const { return file_.path(); }

 private:
  static std::string path_in(const std::string& folder) {
    std::error_code failure;
    std::filesystem::create_directories(folder, failure);
    if (failure)
      throw error{"allfold: tensorboard_writer: can't make the folder " + folder + ": " +
                  failure.message()};
    return (std::filesystem::path{folder} / detail::event_file_name()).string();
  }

  /// An Event: when it was written, and its step.
  static detail::protobuf_message event_at(std::int64_t step) {
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    detail::protobuf_message event;
    event.real(1, now.count());
    event.integer(2, step);
    return event;
  }

  /// Event { wall_time = 1, step = 2, summary = 5 { value = 1 } }
  void write(const detail::protobuf_message& value, std::int64_t step) {
    detail::protobuf_message summary;
    summary.message(1, value);
    detail::protobuf_message event = event_at(step);
    event.message(5, summary);
    file_.write(detail::tf_record(event.bytes()));
  }

  template <class Number>
  std::size_t distribution(std::string_view tag, std::span<const Number> values,
                           std::int64_t step) {
    detail::histogram drawn;
    std::size_t left_out = 0;
    for (const Number each : values)
      if (!drawn.add(static_cast<double>(each))) ++left_out;
    detail::protobuf_message it;
    it.text(1, tag);
    it.message(5, drawn.message());
    write(it, step);
    return left_out;
  }

  detail::output_file file_;
};

}  // namespace allfold
