// Which work of a device's streams a bucket's gradients come from, and what waits for it.
#pragma once

#include <allfold/communicator/device_stream.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace allfold::detail {

/// The order of a pass's work in a device's streams: reductions after the gradients that they
/// reduce, and what the rank's stream is given afterwards after the reductions. Streams wait for
/// marks in each other; the host waits for none. `Link` has stream() and mark(); see replica_link.
template <class Link>
class bucket_order {
 public:
  /// `own` has the rank's stream, `reducing` the one that reductions are given to; they may be the
  /// same link.
  bucket_order(Link& own, Link& reducing) : own_{own}, reducing_{reducing} {}

  /// A pass begins with so many buckets. By the rank's thread, while nothing is reduced.
  void begin(std::size_t buckets) {
    sources_.resize(buckets);
    for (std::vector<source>& all : sources_)
      for (source& each : all) each.current = false;
  }
  /// Gradients of this bucket come from what `stream` has been given so far, by default the rank's
  /// stream. By the rank's thread, before the bucket is handed to the thread that reduces.
  void note(std::size_t bucket, std::optional<void*> stream) {
    void* const from = stream.value_or(own_.stream());
    if (from == reducing_.stream()) return;  // a stream is in order by itself
    source_of(bucket, from).mark->record(from);
  }
  /// What the reducing stream is given from now on waits for the bucket's gradients. By the thread
  /// that reduces.
  void open(std::size_t bucket) {
    for (const source& each : sources_[bucket])
      if (each.current) each.mark->hold_back(reducing_.stream());
  }
  /// What the rank's stream is given from now on waits for all reductions given so far. By the
  /// rank's thread, once all are given.
  void close() {
    if (&own_ == &reducing_) return;
    if (!reduced_) reduced_ = reducing_.mark();
    reduced_->record(reducing_.stream());
    reduced_->hold_back(own_.stream());
  }

 private:
  /// A stream that gradients of a bucket come from, marked behind the last of them. Marks are kept
  /// for later passes.
  struct source {
    void* stream;
    bool current;  ///< noted in this pass
    std::unique_ptr<stream_mark> mark;
  };

  source& source_of(std::size_t bucket, void* stream) {
    source* unused = nullptr;
    for (source& each : sources_[bucket]) {
      if (each.current && each.stream == stream) return each;
      if (!each.current) unused = &each;
    }
    if (unused == nullptr)
      unused = &sources_[bucket].emplace_back(source{nullptr, false, own_.mark()});
    unused->stream = stream;
    unused->current = true;
    return *unused;
  }

  Link& own_;
  Link& reducing_;
  std::vector<std::vector<source>> sources_;  ///< by bucket
  std::unique_ptr<stream_mark> reduced_;      ///< the end of a pass's reductions
};

/// Host memory holds what was written there: nothing is to be ordered.
template <class Link>
struct no_order {
  no_order(Link&, Link&) {}
  void begin(std::size_t) {}
  void note(std::size_t, std::optional<void*>) {}
  void open(std::size_t) {}
  void close() {}
};

}  // namespace allfold::detail
