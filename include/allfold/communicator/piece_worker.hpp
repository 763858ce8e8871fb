// A second thread of a rank, for what becomes of a message's pieces while the first goes on.
#pragma once

#include <allfold/execution/progress.hpp>
#include <functional>

namespace allfold::nodes {

/// Takes the pieces of one message after the other across nodes. Used by its rank's thread.
class piece_worker {
 public:
  explicit piece_worker(bool crowded) : thread_{job{this}, crowded} {}

  /// Calls first(p), pass(p) and last(p) for every piece p, in this order; each of the three for
  /// one piece after the other, but pass(p) on the worker's thread while this one is at
  /// first(p + 1). Returns when all are done, or the thread is at rest after one has thrown. Throws
  /// what that has thrown; where both threads have, what `prefers_pass()` says.
  template <class First, class Pass, class Last, class Prefers>
  void run(int pieces, First first, Pass pass, Last last, Prefers prefers_pass) {
    pass_ = pass;
    base_ = thread_.posted();
    try {
      for (int piece = 0; piece < pieces; ++piece) {
        first(piece);
        thread_.post();
        if (piece > 0) finish(piece - 1, last);
      }
      finish(pieces - 1, last);
    } catch (...) {
      thread_.settle();
      if (prefers_pass()) thread_.wait(base_);
      throw;
    }
  }

 private:
  struct job {
    piece_worker* of;
    void operator()(std::uint64_t number) const { of->pass_(static_cast<int>(number - of->base_)); }
  };
  template <class Last>
  void finish(int piece, Last& last) {
    thread_.wait(base_ + static_cast<std::uint64_t>(piece) + 1);
    last(piece);
  }

  std::function<void(int)> pass_;
  std::uint64_t base_ = 0;               ///< the job that is piece 0 of this message
  detail::progress_thread<job> thread_;  // last: it uses the others
};

}  // namespace allfold::nodes
