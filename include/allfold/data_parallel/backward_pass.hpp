// Keeps account of the gradients during a backward pass: which are ready, and which are not used.
#pragma once

#include <allfold/data_parallel/put_aside.hpp>
#include <allfold/data_parallel/reducer.hpp>
#include <allfold/data_parallel/replica_checks.hpp>

namespace allfold {
namespace detail {

/// What a backward pass must know of the model and the strategy, whatever their types.
struct pass_traits {
  void* model;
  std::string (*name_of_parameter)(void* model, std::size_t index);  ///< for messages
  std::vector<bucket> (*plan)(const std::vector<gradient_shape>&, const std::vector<std::size_t>&);
};

/// What becomes of a pass's gradients.
enum class gradient_use : std::uint8_t {
  reduced,     ///< combined over the ranks
  own,         ///< for the rank's own step
  accumulated  ///< added to by later passes
};

/// Used by the rank's thread. Elements in host memory may be left unused.
template <class Elements>
class backward_pass {
 public:
  static constexpr memory_space space = range_access<Elements>::space;

  /// Every rank calls it.
  backward_pass(replica_link<Elements>& link, const std::vector<Elements>& gradients,
                pass_traits traits, const data_parallel_options& options,
                std::source_location where)
      : link_{link},
        gradients_{gradients},
        traits_{std::move(traits)},
        options_{options},
        ready_(gradients.size(), false),
        used_(gradients.size(), false),
        somewhere_(gradients.size(), false),
        reducer_{link, gradients, joined_on_all_ranks(link, gradients, where), options.overlap,
                 where} {
    if (space == memory_space::device && options.unused != unused::error)
      give_up("models in a device's memory must use every parameter: unused::error", where);
    expect_reverse_order();
    plan();
  }

  /// `how`: gradients are combined like this, if they are reduced.
  void begin(gradient_use use, combination how, std::source_location where) {
    std::fill(ready_.begin(), ready_.end(), false);
    use_ = use;
    if (reduces())
      reducer_.begin(how, where);
    else
      reducer_.rest();
    if (watches()) order_.clear();
  }
  /// Gradients from first to last − 1 will not change any more; see `reducer::ready`.
  void mark_ready(std::size_t first, std::size_t last, std::optional<void*> stream,
                  std::source_location where) {
    if (last > ready_.size())
      give_up("gradient " + std::to_string(std::max(first, ready_.size())) +
                  " was said to be ready, but there are " + std::to_string(ready_.size()),
              where);
    if (first > last)
      give_up("gradients from " + std::to_string(first) + " to before " + std::to_string(last) +
                  " were said to be ready",
              where);
    for (std::size_t index = first; index < last; ++index) {
      if (ready_[index]) give_up("the gradient of " + name_of(index) + " was ready twice", where);
      ready_[index] = used_[index] = true;
      if (watches()) order_.push_back(index);
    }
    if (reduces()) reducer_.ready(first, last, stream);
  }
  /// Gradients that were not ready are dealt with, and all are reduced. `shadows`: this rank has no
  /// inputs any more. Returns how long gradients were reduced before this call.
  std::chrono::nanoseconds finish(std::source_location where, bool shadows) {
    somewhere_ = used_;
    if (use_ == gradient_use::accumulated) return {};
    std::chrono::nanoseconds before{};
    if (reduces())
      before = reduce(where, shadows);
    else
      settle_own(where);
    std::fill(used_.begin(), used_.end(), false);
    return before;
  }
  /// The engine has thrown: the other ranks' threads may wait for this one's gradients, and hear
  /// why these won't come.
  void leave_with(const std::exception_ptr& thrown) {
    link_.leave_with(thrown);
    reducer_.leave_with(thrown);
  }
  [[noreturn]] void give_up(const std::string& what, std::source_location where) {
    reducer_.abort(what + ", data_parallel at " + place_of(where));
    detail::give_up(link_, what, where);
  }
  const reducer<Elements>& reductions() const { return reducer_; }
  /// See data_parallel::used.
  bool used(std::size_t index) const { return somewhere_.at(index) != 0; }

  /// The order that buckets were rebuilt in; empty if they were not.
  std::vector<std::uint64_t> rebuilt_order() const {
    if (!rebuilt_) return {};
    return {order_.begin(), order_.end()};
  }
  /// Takes such an order, as every rank does.
  void rebuild_in(const std::vector<std::uint64_t>& order, std::source_location where) {
    std::vector<std::uint64_t> sorted{order};
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < sorted.size(); ++i)
      if (sorted[i] != i || sorted.size() != gradients_.size())
        give_up("the restored order of " + std::to_string(order.size()) +
                    " gradients is none of this model's " + std::to_string(gradients_.size()),
                where);
    if (order.empty() && !rebuilt_) return;
    rebuilt_ = !order.empty();
    order_.assign(order.begin(), order.end());
    if (order.empty()) expect_reverse_order();
    plan();
  }

 private:
  std::string name_of(std::size_t index) const {
    return traits_.name_of_parameter(traits_.model, index);
  }
  bool reduces() const { return use_ == gradient_use::reduced; }
  /// True until buckets are rebuilt.
  bool watches() const { return reduces() && options_.rebuild_buckets && !rebuilt_; }

  /// A backward pass comes to what the forward pass used last.
  void expect_reverse_order() {
    for (std::size_t index = gradients_.size(); index > 0; --index) order_.push_back(index - 1);
  }
  void plan() {
    std::vector<gradient_shape> shapes;
    for (const Elements each : gradients_) shapes.push_back({each.size_bytes(), 0});
    reducer_.plan(traits_.plan(shapes, order_));
  }

  /// Returns how long gradients were reduced before this call.
  std::chrono::nanoseconds reduce(std::source_location where, bool shadows) {
    const auto begin = std::chrono::steady_clock::now();
    const put_aside<Elements> kept = settle_unused(where, shadows);
    reducer_.finish();
    kept.restore();
    const std::chrono::nanoseconds before = reducer_.done_before(begin);
    if (watches()) rebuild(where);
    return before;
  }
  /// Where the rank steps by itself, unused::keep is about what it has not used itself.
  void settle_own(std::source_location where) {
    for (std::size_t i = 0; i < used_.size(); ++i) {
      if (used_[i]) continue;
      if (options_.unused == unused::error) give_up_unused(i, where);
      if (options_.unused == unused::zero) clear(gradients_[i], where);
    }
  }
  [[noreturn]] void give_up_unused(std::size_t index, std::source_location where) {
    give_up("the gradient of " + name_of(index) + " was never ready in this backward", where);
  }

  /// Sets gradients to zero that this rank has not used, and has the reducer wait for none. What no
  /// rank has used is put aside under unused::keep.
  put_aside<Elements> settle_unused(std::source_location where, bool shadows) {
    put_aside<Elements> kept;
    if (options_.unused == unused::keep) somewhere_ = used_somewhere(where);
    for (std::size_t i = 0; i < ready_.size(); ++i) {
      if (!ready_[i] && !used_[i] && !shadows && options_.unused == unused::error)
        give_up_unused(i, where);
      if (!somewhere_[i] && options_.unused == unused::keep) kept.add(gradients_[i]);
      if (!used_[i]) clear(gradients_[i], where);
      if (!ready_[i]) reducer_.ready(i, i + 1);
    }
    if (options_.unused != unused::keep) std::fill(somewhere_.begin(), somewhere_.end(), true);
    return kept;
  }
  std::vector<char> used_somewhere(std::source_location where) {
    return over_ranks(link_, used_, where, [](std::uint64_t a, std::uint64_t b) { return a | b; });
  }
  void clear(Elements gradient, std::source_location where) {
    if constexpr (space == memory_space::host)
      std::fill(gradient.begin(), gradient.end(), element_of<Elements>{});
    else
      give_up("in a device's memory no gradient can be set to zero for a rank without inputs",
              where);
  }

  /// Takes the order in which rank 0's gradients were ready; those that it did not use come last.
  void rebuild(std::source_location where) {
    rebuilt_ = true;
    order_.resize(gradients_.size(), gradients_.size());
    for (std::size_t& each : order_)
      each = static_cast<std::size_t>(link_.gather(each, where).front());
    std::vector<char> named(order_.size(), false);
    std::erase_if(order_, [&](std::size_t index) {
      return index >= named.size() || std::exchange(named[index], true);
    });
    for (std::size_t i = named.size(); i > 0; --i)
      if (!named[i - 1]) order_.push_back(i - 1);
    plan();
  }

  replica_link<Elements>& link_;
  const std::vector<Elements>& gradients_;
  pass_traits traits_;
  data_parallel_options options_;
  std::vector<char> ready_;         ///< in this pass
  std::vector<char> used_;          ///< in any pass since gradients were reduced last
  std::vector<char> somewhere_;     ///< see `used`
  std::vector<std::size_t> order_;  ///< in which gradients are expected to be ready, or were
  gradient_use use_ = gradient_use::reduced;
  bool rebuilt_ = false;
  reducer<Elements> reducer_;  // last: its thread uses the others
};

/// What an engine calls when gradients are final, each of them once in a pass.
template <class Elements>
class ready_mark {
 public:
  ready_mark(backward_pass<Elements>& pass, std::source_location where)
      : pass_{pass}, where_{where} {}

  void operator()(std::size_t index) const { mark(index, {}); }
  /// Gradients from first to last − 1.
  void operator()(std::size_t first, std::size_t last) const {
    pass_.mark_ready(first, last, {}, where_);
  }
  /// The same for gradients in a device's memory that are final once `stream` has come so far. Not
  /// named, it is the stream that the communicator uses at this moment.
  template <device_stream Stream>
  void operator()(std::size_t index, Stream stream) const {
    mark(index, checked(stream));
  }
  template <device_stream Stream>
  void operator()(std::size_t first, std::size_t last, Stream stream) const {
    pass_.mark_ready(first, last, checked(stream), where_);
  }

 private:
  void mark(std::size_t index, std::optional<void*> stream) const {
    // The largest number, which is none of a gradient's, has no successor; it is refused as it is.
    const bool has_next = index + 1 > index;
    pass_.mark_ready(index, has_next ? index + 1 : index, stream, where_);
  }
  template <class Stream>
  static void* checked(Stream stream) {
    static_assert(range_access<Elements>::space == memory_space::device,
                  "allfold: gradients in host memory are final when they are said to be ready; "
                  "they come from no stream");
    return stream;
  }

  backward_pass<Elements>& pass_;
  std::source_location where_;
};

}  // namespace detail
}  // namespace allfold
