// Reduces gradients bucket by bucket, as they become ready.
#pragma once

#include <algorithm>
#include <allfold/communicator/cores.hpp>
#include <allfold/data_parallel/bucket.hpp>
#include <allfold/data_parallel/bucket_order.hpp>
#include <allfold/data_parallel/options.hpp>
#include <allfold/data_parallel/replica_link.hpp>
#include <allfold/execution/progress.hpp>
#include <chrono>
#include <optional>

namespace allfold {

/// When a bucket was complete, and when it was reduced; in a device's memory: when its reduction
/// was given to the device.
struct bucket_times {
  using moment = std::chrono::steady_clock::time_point;
  std::size_t bytes = 0;  ///< of its gradients
  moment ready{}, begin{}, end{};
  std::size_t sent = 0;  ///< bytes that this rank brought to collectives for them
};

namespace detail {

/// A replica's gradients in buckets, and what has become of them in this backward pass. Used by the
/// rank's thread. Where they are reduced during the pass, it is over a companion of the rank's
/// communicator: by a thread, or by the rank's own where that is but to give work to a device.
template <class Elements>
class reducer {
 public:
  using link_type = replica_link<Elements>;

  /// `joins_next[i]`: on every rank gradient i + 1 lies right behind gradient i. Every rank calls
  /// it with the same plan.
  reducer(link_type& link, const std::vector<Elements>& gradients,
          const std::vector<char>& joins_next, overlap how, std::source_location where)
      : link_{link}, gradients_{gradients}, joins_next_{joins_next} {
    if (link.size() > 1 && how != overlap::none) {
      has_core_ = finds_core(where);
      if (how == overlap::by_thread || all_can_overlap(where)) channel_ = link.companion(where);
    }
    order_.emplace(link_, reducing());
  }
  reducer(const reducer&) = delete;
  reducer& operator=(const reducer&) = delete;
  ~reducer() {
    if (thread_ && !thread_->idle())
      channel_->abort("a replica went away before its gradients were reduced");
  }

  /// Takes a plan. Not while gradients are being reduced.
  void plan(std::vector<bucket> buckets) {
    thread_.reset();
    buckets_ = std::move(buckets);
    bucket_of_.assign(gradients_.size(), 0);
    stretches_.clear();
    first_.assign(1, 0);
    for (std::size_t b = 0; b < buckets_.size(); ++b) {
      for (const std::size_t index : buckets_[b].members) bucket_of_[index] = b;
      append_stretches(buckets_[b].members);
      first_.push_back(stretches_.size());
    }
    if (!channel_ || channel_->enqueues_at_once() || buckets_.empty()) return;
    thread_.emplace(reduction{this}, !has_core_);
  }

  /// A backward pass begins whose gradients won't be reduced.
  void rest() { times_.clear(); }
  /// A backward pass begins whose gradients will be reduced.
  void begin(combination how, std::source_location where) {
    times_.assign(buckets_.size(), {});
    how_ = how;
    where_ = where;
    next_ = 0;
    missing_.clear();
    for (const bucket& each : buckets_) missing_.push_back(each.members.size());
    order_->begin(buckets_.size());
    if (thread_) base_ = thread_->posted();
  }
  /// Gradients from first to last − 1 will not change any more; in a device's memory, once `stream`
  /// has come so far, by default the rank's. Buckets are reduced in the order of their numbers, on
  /// every rank, whatever order they are complete in.
  void ready(std::size_t first, std::size_t last, std::optional<void*> stream = {}) {
    for (; first < last; ++first) {
      const std::size_t b = bucket_of_[first];
      --missing_[b];
      if (first + 1 < last && bucket_of_[first + 1] == b) continue;  // one mark for all of them
      order_->note(b, stream);
      if (missing_[b] == 0) complete(b);
    }
  }
  /// Returns when all buckets are reduced, or their reductions have been given to the device; all
  /// gradients have been ready.
  void finish() {
    if (thread_)
      thread_->wait();
    else if (!channel_)
      for (std::size_t b = 0; b < buckets_.size(); ++b) reduce(b);
    if (!buckets_.empty()) order_->close();
  }
  /// What of the last pass's reductions was done before `moment`.
  std::chrono::nanoseconds done_before(bucket_times::moment moment) const {
    std::chrono::nanoseconds total{};
    for (const bucket_times& each : times_)
      if (each.begin < moment) total += std::min(each.end, moment) - each.begin;
    return total;
  }
  /// The bytes that this rank brought to collectives for the last pass's gradients.
  std::uint64_t bytes_sent() const {
    std::uint64_t total = 0;
    for (const bucket_times& each : times_) total += each.sent;
    return total;
  }
  /// Tells the other ranks' threads that this one leaves.
  void leave_with(const std::exception_ptr& thrown) {
    if (channel_) channel_->leave_with(thrown);
  }
  void abort(const std::string& why) {
    if (channel_) channel_->abort(why);
  }

  bool overlaps() const { return channel_ != nullptr; }
  const std::vector<bucket>& buckets() const { return buckets_; }
  /// Of the last backward pass, by the buckets that there were in it; empty if it reduced nothing.
  const std::vector<bucket_times>& times() const { return times_; }
  /// How many collectives reduce all gradients.
  std::size_t stretches() const { return stretches_.size(); }

 private:
  /// What the thread does: reduces the next bucket. If it can't, the other ranks hear why.
  struct reduction {
    reducer* of;
    void operator()(std::uint64_t job) const {
      try {
        of->reduce(static_cast<std::size_t>(job - of->base_));
      } catch (...) {
        of->leave_with(std::current_exception());
        throw;
      }
    }
  };
  using order = std::conditional_t<link_type::space == memory_space::device,
                                   bucket_order<link_type>, no_order<link_type>>;

  /// True if there is a core for a second thread of each rank on this one's cores.
  bool finds_core(std::source_location where) const {
    const std::uint64_t mine = identity_of_cores();
    const std::vector<std::uint64_t> all = link_.gather(mine, where);
    return usable_cores() >= 2 * std::count(all.begin(), all.end(), mine);
  }
  /// All ranks overlap or none, and each has its own number of cores.
  bool all_can_overlap(std::source_location where) const {
    const std::vector<std::uint64_t> all =
        link_.gather(link_.enqueues_at_once() || has_core_ ? 1 : 0, where);
    return std::find(all.begin(), all.end(), 0u) == all.end();
  }

  link_type& reducing() { return channel_ ? *channel_ : link_; }

  /// Gradients side by side in memory are one stretch.
  void append_stretches(std::vector<std::size_t> members) {
    std::sort(members.begin(), members.end());
    for (std::size_t k = 0; k < members.size();) {
      std::size_t last = k;
      std::size_t count = gradients_[members[k]].size();
      while (last + 1 < members.size() && members[last + 1] == members[last] + 1 &&
             joins_next_[members[last]] != 0)
        count += gradients_[members[++last]].size();
      if (count > 0) stretches_.push_back(Elements{gradients_[members[k]].data(), count});
      k = last + 1;
    }
  }
  void complete(std::size_t b) {
    times_[b] = {buckets_[b].bytes, std::chrono::steady_clock::now(), {}, {}, 0};
    for (; next_ < buckets_.size() && missing_[next_] == 0; ++next_)
      if (thread_)
        thread_->post();
      else if (channel_)
        reduce(next_);
  }
  void reduce(std::size_t b) {
    times_[b].begin = std::chrono::steady_clock::now();
    order_->open(b);
    for (std::size_t i = first_[b]; i < first_[b + 1]; ++i)
      times_[b].sent += reducing().reduce(stretches_[i], i, how_, where_);
    times_[b].end = std::chrono::steady_clock::now();
  }

  link_type& link_;
  const std::vector<Elements>& gradients_;
  std::vector<char> joins_next_;
  std::vector<bucket> buckets_;
  std::vector<std::size_t> bucket_of_;  ///< by gradient
  std::vector<Elements> stretches_;     ///< of bucket b: [first_[b], first_[b + 1])
  std::vector<std::size_t> first_;
  std::vector<std::size_t> missing_;  ///< by bucket, gradients that are not ready yet
  std::vector<bucket_times> times_;
  std::size_t next_ = 0;  ///< the bucket to be reduced next
  combination how_;
  std::source_location where_;
  bool has_core_ = false;               ///< for a thread of its own
  std::uint64_t base_ = 0;              ///< the job that is bucket 0 of this pass
  std::unique_ptr<link_type> channel_;  ///< what gradients are reduced by during a backward pass
  std::optional<order> order_;
  std::optional<progress_thread<reduction>> thread_;  // last: it uses all others
};

}  // namespace detail
}  // namespace allfold
