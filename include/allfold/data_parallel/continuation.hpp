// How replicas go on with the ranks that are left after a failure: which of them hold what, and
// from whom the others take it.
#pragma once

#include <algorithm>
#include <allfold/data_parallel/model_values.hpp>
#include <allfold/hash.hpp>
#include <cstring>
#include <ranges>

namespace allfold {

/// The same on every rank.
struct continue_options {
  /// Under primary_device: if the rank is lost that stepped, another one steps from now on, with an
  /// optimizer that knows nothing of the steps before. Otherwise that is a rank_lost_error.
  bool new_primary = false;
};

/// What continue_on has found.
struct continuation {
  std::uint64_t steps = 0;  ///< that count: the next one is the first that all take together
  int source = 0;           ///< the rank whose parameters and state are everybody's now
  bool adopted = false;     ///< this rank had other parameters: older ones, or half of newer ones
  /// The source has taken the last of these steps, but a failure came before `step` had returned
  /// there: what the program does after each step is still to be done for it.
  bool cut = false;
};

/// For optimizers that keep nothing from step to step; see data_parallel::continue_on.
inline constexpr auto stateless = [](auto&&) {};

namespace detail {

/// Gives all ranks what one of them holds. `share(value)` is called on every rank for the same
/// things in the same order. A value is an object without pointers, a contiguous range of such, a
/// range of such ranges, or something whose member `share_state(share)` calls `share` for its
/// parts. Ranges that can be resized become as long as the source's; others are as long already.
template <class Elements>
class state_sharing {
 public:
  state_sharing(replica_link<Elements>& link, int source, std::source_location where)
      : link_{link}, source_{source}, where_{where} {}

  template <class T>
  void operator()(T&& value) const {
    if constexpr (requires { value.share_state(*this); }) {
      value.share_state(*this);
    } else if constexpr (std::ranges::range<T&>) {
      fit(value);
      if constexpr (is_bytes<T>)
        send(std::data(value), static_cast<std::size_t>(std::size(value)));
      else
        for (auto&& each : value) (*this)(each);
    } else {
      send(std::addressof(value), 1);
    }
  }

 private:
  template <class T>
  static constexpr bool is_object =
      std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::ranges::range<T&>;
  template <class T>
  static constexpr bool is_bytes = [] {
    if constexpr (contiguous<T>) return is_object<element_of<T>>;
    return false;
  }();

  template <class Range>
  void fit(Range& range) const {
    const auto size = static_cast<std::uint64_t>(std::size(range));
    const std::vector<std::uint64_t> sizes = link_.gather(size, where_);
    const std::uint64_t wanted = sizes[static_cast<std::size_t>(source_)];
    if constexpr (requires { range.resize(std::size(range)); }) {
      if (size != wanted) range.resize(static_cast<decltype(std::size(range))>(wanted));
    } else {
      for (std::size_t rank = 0; rank < sizes.size(); ++rank)
        if (sizes[rank] != wanted)
          throw mismatch_error{"allfold: rank " + std::to_string(link_.rank()) +
                               ", continue_on at " + place_of(where_) + ": a range has " +
                               std::to_string(sizes[rank]) + " elements on rank " +
                               std::to_string(rank) + " and " + std::to_string(wanted) +
                               " on rank " + std::to_string(source_)};
    }
  }
  template <class T>
  void send(T* data, std::size_t count) const {
    static_assert(is_object<T>,
                  "allfold: what ranks share is copied as bytes: give share(…) "
                  "objects without pointers, or ranges of them");
    link_.broadcast({reinterpret_cast<std::byte*>(data), count * sizeof(T)}, source_, where_);
  }

  replica_link<Elements>& link_;
  int source_;
  std::source_location where_;
};

/// A number for the bits of all elements.
template <class Elements>
std::uint64_t fingerprint_of(const std::vector<Elements>& all) {
  std::uint64_t found = 0;
  for (const Elements each : all) {
    const std::span<const std::byte> bytes = std::as_bytes(each);
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, &bytes[at], std::min(sizeof word, bytes.size() - at));
      found = mixed(found, word);
    }
  }
  return found;
}

/// What all ranks say of their replicas, by rank, and what follows from it. The same everywhere.
struct replica_census {
  std::vector<std::uint64_t> steps, fingerprints, footings;

  footing of(std::size_t rank) const { return footing::unpacked(footings[rank]); }

  /// The steps that count: the most that a rank has taken whose parameters are whole.
  std::uint64_t most_steps() const {
    std::uint64_t most = 0;
    for (std::size_t rank = 0; rank < steps.size(); ++rank)
      if (of(rank).whole) most = std::max(most, steps[rank]);
    return most;
  }
  bool is_furthest(std::size_t rank) const { return of(rank).whole && steps[rank] == most_steps(); }
  /// The rank that stepped for all, or −1 if it is not there.
  int old_primary() const {
    for (std::size_t rank = 0; rank < steps.size(); ++rank)
      if (of(rank).primary && is_furthest(rank)) return static_cast<int>(rank);
    return -1;
  }
  /// The lowest of those that have come furthest, and there hold what most hold; −1 if no rank's
  /// parameters are whole.
  int source() const {
    int found = -1;
    std::size_t most = 0;
    for (std::size_t rank = 0; rank < steps.size(); ++rank) {
      if (!is_furthest(rank)) continue;
      const std::size_t agreeing = agreeing_with(rank);
      if (agreeing <= most) continue;
      most = agreeing;
      found = static_cast<int>(rank);
    }
    return found;
  }

 private:
  std::size_t agreeing_with(std::size_t rank) const {
    std::size_t number = 0;
    for (std::size_t each = 0; each < steps.size(); ++each)
      if (is_furthest(each) && fingerprints[each] == fingerprints[rank]) ++number;
    return number;
  }
};

/// Has a replica's ranks, which are others than before, hold alike what they need.
///
/// A failure in a backward pass leaves the parameters as they were. One in `step` may leave them
/// half written on ranks that they are sent to; and some ranks may have taken a step that others
/// have not. So those count that have come furthest with whole parameters, and if these do not hold
/// the same bits, what most of them hold. Under primary_device it is the rank that stepped.
template <class Replica>
class continuing {
 public:
  continuing(Replica& replica, const continue_options& how, std::source_location where)
      : replica_{replica}, link_{*replica.link_}, how_{how}, where_{where} {}

  template <class State>
  continuation with(State& state) {
    const replica_census all = census();
    const int source = source_of(all);
    const auto its = static_cast<std::size_t>(source);
    const auto own = static_cast<std::size_t>(link_.rank());
    const bool adopts = !all.is_furthest(own) || all.fingerprints[own] != all.fingerprints[its];
    auto& values = replica_.values_;
    if (adopts) values.footing.whole = false;  // until it is done
    values.adopt(link_, source, where_);
    const state_sharing<typename Replica::elements> share{link_, source, where_};
    state(share);
    share(replica_.bucket_order_);
    replica_.compression_ = {};
    replica_.make_pass(where_);
    replica_.pass_->rebuild_in(replica_.bucket_order_, where_);
    values.steps = all.steps[its];
    values.footing.whole = true;
    values.footing.cut = false;
    return {values.steps, source, adopts, all.of(its).cut};
  }

 private:
  replica_census census() {
    return {link_.gather(replica_.steps(), where_),
            link_.gather(fingerprint_of(replica_.values_.parameters()), where_),
            link_.gather(replica_.values_.footing.packed(), where_)};
  }
  /// Every rank comes to the same conclusion.
  int source_of(const replica_census& all) {
    if (all.source() < 0)
      lost(
          "no rank that is left holds whole parameters, since the failure came while they were "
          "sent; go on from a saved state");
    if constexpr (!Replica::steps_everywhere) {
      require_primary();
      const int before = all.old_primary();
      if (before >= 0) return before;
      if (!how_.new_primary && all.most_steps() > 0)
        lost(
            "the rank is lost that stepped, and the optimizer's state with it; go on from a saved "
            "state, or with another one by {.new_primary = true}");
    }
    return all.source();
  }
  void require_primary() {
    const std::vector<std::uint64_t> now = link_.gather(link_.steps() ? 1 : 0, where_);
    if (std::count(now.begin(), now.end(), 1u) == 0)
      throw usage_error{said() + "among " + std::to_string(now.size()) +
                        (now.size() == 1 ? " rank" : " ranks") +
                        " that are left there is none that the strategy has step"};
  }
  std::string said() const {
    return "allfold: rank " + std::to_string(link_.rank()) + ", continue_on at " +
           place_of(where_) + ": ";
  }
  [[noreturn]] void lost(const char* what) const { throw rank_lost_error{said() + what}; }

  Replica& replica_;
  replica_link<typename Replica::elements>& link_;
  continue_options how_;
  std::source_location where_;
};

}  // namespace detail
}  // namespace allfold
