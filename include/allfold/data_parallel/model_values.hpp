// A model's values besides its gradients, and how all ranks come to hold the same.
#pragma once

#include <allfold/data_parallel/model_access.hpp>
#include <allfold/data_parallel/put_aside.hpp>
#include <allfold/data_parallel/replica_link.hpp>

namespace allfold::detail {

/// What a rank knows of its own parameters at any time.
struct footing {
  bool whole = true;     ///< they are those after a number of steps, and not in the midst of one
  bool primary = false;  ///< this rank steps, under a strategy in which one does for all
  bool cut = false;      ///< the last step was taken, and `step` has not returned

  std::uint64_t packed() const { return (whole ? 1u : 0u) | (primary ? 2u : 0u) | (cut ? 4u : 0u); }
  static footing unpacked(std::uint64_t bits) {
    return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
  }
};

/// One rank's parameters, buffers and what is frozen, and the steps that it has taken with them.
/// Used by the rank's thread; the model must outlive it. What takes a link every rank calls.
template <class Model, class Strategy>
class model_values {
 public:
  using element = model_element<Model>;
  static constexpr memory_space space = model_space<Model>;
  using elements = span_in<element, space>;
  using link_type = replica_link<elements>;

  explicit model_values(Model& model)
      : model_{model}, parameters_{spans_of<element, space>(call_parameters(model))} {}

  std::uint64_t steps = 0;
  detail::footing footing;  ///< in case that a rank is lost

  Model& model() const { return model_; }
  const std::vector<elements>& parameters() const { return parameters_; }

  /// Takes rank `from`'s parameters, buffers and what is frozen.
  void adopt(link_type& link, int from, std::source_location where) {
    for (const elements each : parameters_) link.broadcast(bytes_of<space>(each), from, where);
    if constexpr (has_frozen<Model>)
      for (auto&& each : call_frozen(model_)) link.broadcast(bytes_of<space>(each), from, where);
    broadcast_buffers(link, from, where);
  }
  void broadcast_buffers(link_type& link, int from, std::source_location where) {
    if constexpr (has_buffers<Model>)
      for (auto&& each : call_buffers(model_)) link.broadcast(bytes_of<space>(each), from, where);
  }
  /// Applies the optimizer on this rank.
  template <class Optimizer>
  void step(Optimizer& optimizer, const std::vector<elements>& gradients) {
    footing.whole = false;
    apply<span_in<const element, space>>(optimizer, parameters_, gradients);
    footing.whole = true;
    count_step();
  }
  /// Makes the parameters equal everywhere after a step, as the strategy does; buffers too where
  /// ranks went their own ways, if `with_buffers`.
  void make_equal(link_type& link, bool with_buffers, std::source_location where) {
    if (averages_after<Strategy>(steps))
      average(link, with_buffers, where);
    else
      share(link, where);
    footing.cut = false;
  }

 private:
  void count_step() {
    ++steps;
    footing.cut = true;
  }
  void share(link_type& link, std::source_location where) {
    if constexpr (!Strategy::steps_everywhere) {
      // The others wait here for the one that steps: if it is lost meanwhile, they have what they
      // had.
      element through{};
      if constexpr (space == memory_space::host) link.share({&through, 1}, where);
      if (!footing.primary) count_step();
    }
    footing.whole = footing.primary;  // what a rank sends it does not change
    for (const elements each : parameters_) link.share(each, where);
    footing.whole = true;
  }
  /// A failure leaves undefined what is averaged, so then everybody goes on with its own.
  void average(link_type& link, bool with_buffers, std::source_location where) {
    put_aside<elements> own;
    for (const elements each : parameters_) own.add(each);
    try {
      for (const elements each : parameters_) link.average(each, where);
      if (with_buffers) broadcast_buffers(link, 0, where);
    } catch (...) {
      own.restore();
      throw;
    }
  }

  Model& model_;
  std::vector<elements> parameters_;
};

}  // namespace allfold::detail
