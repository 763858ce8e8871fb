// Ranks that run out of inputs before others do.
// PyTorch's torch.distributed.algorithms.join, whose ranks only shadow collectives; here they may
// take the others' steps too, and so stay equal all the time.
#pragma once

#include <allfold/error.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace allfold {

/// By what mean gradients are divided while some ranks have no inputs any more.
enum class divide_by : std::uint8_t {
  initial_ranks,  ///< by all ranks; those without inputs count as gradients of zero
  live_ranks      ///< by those that still have inputs
};

/// The same on every rank.
struct join_options {
  allfold::divide_by divide_by = allfold::divide_by::initial_ranks;
  bool throw_early = false;  ///< all ranks get a usage_error as soon as one has no inputs any more
};

namespace detail {

/// Which ranks take part in a backward pass with inputs of their own.
struct turn_out {
  int live = 0;              ///< how many, if gradients are divided by that; else 0
  int first = 0;             ///< the lowest of them
  bool accumulates = false;  ///< their gradients are not reduced in this pass
  bool nobody = false;       ///< all are through
};

}  // namespace detail

/// Between its making and `finish`, ranks may run different numbers of backward passes, each of
/// which is followed by a step unless it accumulates. A rank that is through calls `finish`, in
/// which it shadows the others' collectives with gradients of zero until all are through:
///
///     auto joined = replica.join();
///     for (auto batch : my_batches) { replica.backward(…); replica.step(optimizer); }
///     joined.finish(optimizer);
///
/// Every rank makes one and calls `finish` once. Models in host memory only.
template <class Replica>
class join_scope {
 public:
  join_scope(Replica& replica, join_options how) : replica_{replica}, how_{how} {
    static_assert(!Replica::averages_parameters,
                  "allfold: ranks that go their own ways have nothing to shadow");
    replica_.joining_ = this;
  }
  join_scope(const join_scope&) = delete;
  join_scope& operator=(const join_scope&) = delete;
  ~join_scope() { replica_.joining_ = nullptr; }

  /// Takes the others' steps as well, so that this rank's parameters and optimizer stay theirs.
  template <class Optimizer>
  void finish(Optimizer&& optimizer, std::source_location where = std::source_location::current()) {
    shadow([&] { replica_.step(optimizer, where); }, where);
  }
  /// Takes none; at the end the parameters and buffers of the lowest rank that was through last
  /// are everybody's. For optimizers without state, or if training ends here.
  void finish(std::source_location where = std::source_location::current()) {
    static_assert(Replica::steps_everywhere,
                  "allfold: where one rank steps for all, give finish(…) the optimizer");
    shadow([] {}, where);
    replica_.values_.adopt(*replica_.link_, last_, where);
    replica_.values_.steps =
        replica_.link_->gather(replica_.steps(), where)[static_cast<std::size_t>(last_)];
  }

  /// Before each backward pass: asks all ranks. `through`: this one has no inputs any more.
  detail::turn_out turn_out(std::source_location where, bool through = false) {
    enum : std::uint64_t { is_through, accumulates, reduces };
    const std::uint64_t mine = through                      ? is_through
                               : replica_.accumulating_ > 0 ? accumulates
                                                            : reduces;
    const std::vector<std::uint64_t> all = replica_.link_->gather(mine, where);
    detail::turn_out found{.nobody = true};
    for (std::size_t rank = all.size(); rank > 0; --rank) {
      if (all[rank - 1] == is_through) {
        if (how_.throw_early) early_ = static_cast<int>(rank) - 1;
        continue;
      }
      found.first = static_cast<int>(rank) - 1;
      found.accumulates = all[rank - 1] == accumulates;
      found.nobody = false;
      ++found.live;
    }
    if (early_ >= 0 && !found.nobody) throw_early(where);
    if (!found.nobody) last_ = found.first;
    if (how_.divide_by == divide_by::initial_ranks) found.live = 0;
    return found;
  }

 private:
  /// Every rank comes to this conclusion by itself.
  [[noreturn]] void throw_early(std::source_location where) const {
    throw usage_error{
        "allfold: rank " + std::to_string(replica_.rank()) + ": rank " + std::to_string(early_) +
        " has no inputs any more while others have, data_parallel at " + place_of(where)};
  }
  template <class Step>
  void shadow(Step step, std::source_location where) {
    if (replica_.forwarded_)
      replica_.pass_->give_up("within a join a backward pass follows each forward pass", where);
    for (;;) {
      const detail::turn_out there = turn_out(where, true);
      if (there.nobody) break;
      replica_.shadow(there, where);
      if (!there.accumulates) step();
    }
    replica_.joining_ = nullptr;
  }

  Replica& replica_;
  join_options how_;
  int early_ = -1;  ///< a rank that was through while others were not, under throw_early
  int last_ = 0;    ///< the lowest rank that was live in the last pass
};

}  // namespace allfold
