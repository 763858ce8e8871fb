// Trains one model on many ranks.
#pragma once

#include <algorithm>
#include <allfold/data_parallel/join.hpp>
#include <allfold/data_parallel/put_aside.hpp>
#include <allfold/data_parallel/reducer.hpp>
#include <allfold/data_parallel/replica_checks.hpp>

namespace allfold {

/// What becomes of a parameter whose gradient was not ready at the end of a backward pass.
enum class unused : std::uint8_t {
  error,  ///< every rank gets a usage_error that names the rank and the parameter
  zero,   ///< this rank's gradient is set to zero, and reduced
  keep    ///< the same, but where no rank used the parameter all keep what they had; host only
};

/// What a replica may be told when it is made. The same on every rank.
struct data_parallel_options {
  allfold::scale scale = allfold::scale::mean_over_ranks;
  allfold::overlap overlap = allfold::overlap::automatic;
  allfold::unused unused = allfold::unused::error;
  bool broadcast_buffers = true;  ///< rank 0's buffers to all, before each backward pass
  bool rebuild_buckets = false;   ///< once, in the order in which rank 0's gradients were ready
};

/// How long this rank's thread spent on the last step. A device may still be at work afterwards.
struct step_times {
  std::chrono::nanoseconds computation{};    ///< in the engine's backward and in the optimizer
  std::chrono::nanoseconds communication{};  ///< in collectives, waiting for other ranks included:
                                             ///< what the computation does not hide
};

/// One rank's replica of a model. `Strategy` is primary_device<root>, distributed<Algorithm> or
/// local_sgd<…>. Used by its rank's thread; the model and the communicator must outlive it. All
/// ranks make one and call the same functions in the same order.
template <trainable_model Model, class Strategy>
class data_parallel {
 public:
  using element = model_element<Model>;
  static constexpr memory_space space = model_space<Model>;
  using elements = span_in<element, space>;
  static constexpr bool steps_everywhere = Strategy::steps_everywhere;
  static constexpr bool averages_parameters = requires { Strategy::average_every; };

  /// Checks that all ranks' parameters and gradients have the same number and sizes, then copies
  /// rank 0's parameters and buffers to all ranks. Throws usage_error where a model contradicts
  /// itself, mismatch_error naming the rank and the parameter where ranks differ.
  template <communicator World>
  data_parallel(Model& model, World& world, data_parallel_options options = {},
                std::source_location where = std::source_location::current())
      : model_{model},
        link_{std::make_unique<link_to<World>>(world, compression_)},
        options_{options},
        parameters_{detail::spans_of<element, space>(detail::call_parameters(model))},
        gradients_{detail::spans_of<element, space>(detail::call_gradients(model))},
        ready_(gradients_.size(), false),
        used_(gradients_.size(), false) {
    if (space == memory_space::device && options.unused == unused::keep)
      give_up("unused::keep is for models in host memory", where);
    detail::check_own_shapes(model_, *link_, parameters_, gradients_, where);
    detail::check_shapes_of_ranks(model_, *link_, parameters_, where);
    adopt(0, where);
    reducer_.emplace(*link_, gradients_, detail::joined_on_all_ranks(*link_, gradients_, where),
                     space == memory_space::host ? options.overlap : overlap::none, where);
    reducer_->plan(Strategy::bucketing::plan(shapes()));
  }

  /// Runs the engine's backward pass, `engine(ready)`, in which `ready(i)` says that gradient i
  /// will not change any more, and `ready(first, last)` that those from first to last − 1 will not;
  /// when it returns every gradient has been reduced as the strategy does. `samples` is the number
  /// of samples that this rank's gradient is the mean of; it matters for scale::mean_over_samples.
  /// Throws usage_error, on every rank, if a gradient was ready twice, or never ready under
  /// unused::error; and what `engine` throws.
  template <class Engine>
  void backward(Engine&& engine, std::size_t samples = 1,
                std::source_location where = std::source_location::current()) {
    begin(samples, where);
    pass(engine, where);
    finish(where);
  }

  /// Reduces all gradients: for engines whose backward pass has no hook. Call it in every step,
  /// after the backward pass.
  void reduce_gradients(std::size_t samples = 1,
                        std::source_location where = std::source_location::current()) {
    begin(samples, where);
    ready_mark{*this, where}(0, gradients_.size());
    finish(where);
  }

  /// While the guard lives, backward passes reduce nothing: gradients are the engine's to add up,
  /// and the first backward pass afterwards reduces what has come together. Every rank does alike.
  /// Throws usage_error under scale::mean_over_samples, which knows only one pass's samples.
  [[nodiscard]] auto no_sync(std::source_location where = std::source_location::current()) {
    if (options_.scale == scale::mean_over_samples)
      give_up("no_sync does not go with scale::mean_over_samples", where);
    return accumulation{accumulating_};
  }

  /// Lets ranks run out of inputs at different times; see join.hpp.
  [[nodiscard]] join_scope<data_parallel> join(join_options how = {}) {
    return join_scope<data_parallel>{*this, how};
  }

  /// Applies the optimizer where the strategy steps, then makes the parameters equal everywhere.
  /// `optimizer` is called as optimizer(i, parameter, gradient) or optimizer(parameter, gradient)
  /// for each parameter in order, with std::span<element> and std::span<const element>, or with
  /// device_span; or, if it takes nothing, once.
  template <class Optimizer>
  void step(Optimizer&& optimizer, std::source_location where = std::source_location::current()) {
    if (link_->steps()) timed(times_.computation, [&] { apply(optimizer); });
    ++steps_;
    timed(times_.communication, [&] {
      if (averages_now())
        for (const elements each : parameters_) link_->average(each, where);
      else
        for (const elements each : parameters_) link_->share(each, where);
    });
  }

  Model& model() { return model_; }
  /// The gradients as the model names them.
  const std::vector<elements>& gradients() const { return gradients_; }
  const step_times& times() const { return times_; }
  int rank() const { return link_->rank(); }
  int size() const { return link_->size(); }
  /// Optimizer steps so far.
  std::uint64_t steps() const { return steps_; }
  /// Which gradients are reduced together, in this order.
  const std::vector<bucket>& buckets() const { return reducer_->buckets(); }
  /// When the last backward pass's buckets were complete and when they were reduced.
  const std::vector<bucket_times>& bucket_timeline() const { return reducer_->times(); }
  /// True if gradients are reduced while the backward pass goes on.
  bool overlaps() const { return reducer_->overlaps(); }
  /// How many collectives reduce all gradients: one for each bucket if they lie side by side.
  std::size_t collectives_per_step() const { return reducer_->stretches(); }
  /// What the strategy's compression has come to know, such as residuals. Not during `backward`.
  typename Strategy::compression& compression() { return compression_; }

 private:
  friend class join_scope<data_parallel>;
  template <class World>
  using link_to = detail::linked_by<elements, Strategy, World&, typename Strategy::compression>;

  /// Counts guards that live.
  class accumulation {
   public:
    explicit accumulation(int& depth) : depth_{&depth} { ++depth; }
    accumulation(accumulation&& other) noexcept : depth_{std::exchange(other.depth_, nullptr)} {}
    accumulation& operator=(accumulation&&) = delete;
    ~accumulation() {
      if (depth_ != nullptr) --*depth_;
    }

   private:
    int* depth_;
  };

  template <class Work>
  static void timed(std::chrono::nanoseconds& total, Work work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    total += std::chrono::steady_clock::now() - begin;
  }
  std::string name(std::size_t index) { return detail::parameter_name(model_, index); }
  [[noreturn]] void give_up(const std::string& what, std::source_location where) {
    if (reducer_) reducer_->abort(what + ", data_parallel at " + place_of(where));
    detail::give_up(*link_, what, where);
  }
  std::vector<gradient_shape> shapes() const {
    std::vector<gradient_shape> all;
    for (const elements each : gradients_) all.push_back({each.size_bytes(), 0});
    return all;
  }
  void broadcast_buffers(int from, std::source_location where) {
    if constexpr (detail::has_buffers<Model>)
      for (auto&& each : detail::call_buffers(model_))
        link_->broadcast(detail::bytes_of<space>(each), from, where);
  }

  /// True while ranks go their own ways under local_sgd.
  bool is_local() const {
    if constexpr (averages_parameters)
      return steps_ >= static_cast<std::uint64_t>(Strategy::average_from);
    return false;
  }
  bool averages_now() const {
    if constexpr (averages_parameters) {
      const auto from = static_cast<std::uint64_t>(Strategy::average_from);
      return steps_ > from && (steps_ - from) % Strategy::average_every == 0;
    }
    return false;
  }

  // ---- a backward pass ----

  /// What all ranks do before it.
  void begin(std::size_t samples, std::source_location where) {
    times_ = {};
    timed(times_.communication, [&] {
      const detail::turn_out there = joining_ ? joining_->turn_out(where) : detail::turn_out{};
      begin(samples, there, where);
    });
  }
  /// `there`: which ranks take part with inputs of their own.
  void begin(std::size_t samples, const detail::turn_out& there, std::source_location where) {
    std::fill(ready_.begin(), ready_.end(), false);
    order_.clear();
    reduces_ = !there.accumulates && accumulating_ == 0 && !is_local();
    if (options_.broadcast_buffers && accumulating_ == 0 && !there.accumulates)
      broadcast_buffers(there.first, where);
    if (!reduces_) return;
    detail::combination how{options_.scale == scale::mean_over_ranks, 1.0};
    if (how.averages && there.live > 0) how.weight = static_cast<double>(size()) / there.live;
    if (options_.scale == scale::mean_over_samples) how.weight = share_of_samples(samples, where);
    reducer_->begin(how, where);
  }
  double share_of_samples(std::size_t samples, std::source_location where) {
    std::uint64_t total = 0;
    for (const std::uint64_t each : link_->gather(samples, where)) total += each;
    if (total == 0) give_up("no rank had a sample in this backward", where);
    return static_cast<double>(samples) / static_cast<double>(total);
  }

  /// Tells the reducer which gradients are ready.
  struct ready_mark {
    data_parallel& of;
    std::source_location where;
    void operator()(std::size_t index) const { of.mark_ready(index, where); }
    void operator()(std::size_t first, std::size_t last) const {
      for (std::size_t index = first; index < last; ++index) of.mark_ready(index, where);
    }
  };
  template <class Engine>
  void pass(Engine& engine, std::source_location where) {
    try {
      timed(times_.computation, [&] { engine(ready_mark{*this, where}); });
    } catch (...) {
      // The others' threads may wait for this rank's gradients: they hear why these won't come.
      link_->leave_with(std::current_exception());
      reducer_->leave_with(std::current_exception());
      throw;
    }
  }
  void mark_ready(std::size_t index, std::source_location where) {
    if (index >= ready_.size())
      give_up("gradient " + std::to_string(index) + " was said to be ready, but there are " +
                  std::to_string(ready_.size()),
              where);
    if (ready_[index]) give_up("the gradient of " + name(index) + " was ready twice", where);
    ready_[index] = used_[index] = true;
    if (options_.rebuild_buckets && !rebuilt_) order_.push_back(index);
    if (reduces_) reducer_->ready(index);
  }

  /// What follows it: gradients that were not ready are dealt with, and all are reduced.
  void finish(std::source_location where, bool shadows = false) {
    if (!reduces_) return;
    timed(times_.communication, [&] {
      const detail::put_aside<elements> kept = settle_unused(where, shadows);
      reducer_->finish();
      kept.restore();
      if (options_.rebuild_buckets && !rebuilt_) rebuild(where);
    });
    std::fill(used_.begin(), used_.end(), false);
  }
  /// Another rank's pass, for one that has no inputs any more.
  void shadow(const detail::turn_out& there, std::source_location where) {
    begin(0, there, where);
    finish(where, true);
  }
  /// Takes a rank's parameters and buffers.
  void adopt(int from, std::source_location where) {
    for (const elements each : parameters_)
      link_->broadcast(detail::bytes_of<space>(each), from, where);
    broadcast_buffers(from, where);
  }

  /// Sets gradients to zero that this rank has not used, and has the reducer wait for none. What no
  /// rank has used is put aside under unused::keep. `shadows`: this rank has no inputs any more.
  detail::put_aside<elements> settle_unused(std::source_location where, bool shadows) {
    detail::put_aside<elements> kept;
    std::vector<char> somewhere = used_;
    if (options_.unused == unused::keep) somewhere = used_somewhere(where);
    for (std::size_t i = 0; i < ready_.size(); ++i) {
      if (!ready_[i] && !used_[i] && !shadows && options_.unused == unused::error)
        give_up("the gradient of " + name(i) + " was never ready in this backward", where);
      if (!used_[i] && options_.unused == unused::keep && !somewhere[i]) kept.add(gradients_[i]);
      if (!used_[i]) clear(gradients_[i], where);
      if (!ready_[i]) reducer_->ready(i);
    }
    return kept;
  }
  std::vector<char> used_somewhere(std::source_location where) {
    std::vector<char> all(used_.size(), false);
    for (std::size_t begin = 0; begin < all.size(); begin += 64) {
      const std::size_t end = std::min(begin + 64, all.size());
      std::uint64_t mine = 0, any = 0;
      for (std::size_t i = begin; i < end; ++i)
        mine |= static_cast<std::uint64_t>(used_[i] ? 1 : 0) << (i - begin);
      for (const std::uint64_t each : link_->gather(mine, where)) any |= each;
      for (std::size_t i = begin; i < end; ++i) all[i] = (any >> (i - begin)) & 1;
    }
    return all;
  }
  void clear(elements gradient, std::source_location where) {
    if constexpr (space == memory_space::host)
      std::fill(gradient.begin(), gradient.end(), element{});
    else
      give_up("unused::zero and join are for models in host memory", where);
  }

  /// Takes the order in which rank 0's gradients were ready.
  void rebuild(std::source_location where) {
    rebuilt_ = true;
    std::vector<std::size_t> order(gradients_.size());
    for (std::size_t i = 0; i < order.size(); ++i)
      order[i] = static_cast<std::size_t>(
          link_->gather(i < order_.size() ? order_[i] : order.size(), where)[0]);
    std::vector<char> named(order.size(), false);
    std::erase_if(order, [&](std::size_t index) {
      return index >= named.size() || std::exchange(named[index], true);
    });
    for (std::size_t i = named.size(); i > 0; --i)  // those that rank 0 did not use
      if (!named[i - 1]) order.push_back(i - 1);
    reducer_->plan(Strategy::bucketing::plan(shapes(), order));
  }

  template <class Optimizer>
  void apply(Optimizer& optimizer) {
    if constexpr (requires { optimizer(); }) {
      optimizer();
    } else {
      for (std::size_t i = 0; i < parameters_.size(); ++i) {
        const span_in<const element, space> gradient = gradients_[i];
        if constexpr (requires { optimizer(i, parameters_[i], gradient); })
          optimizer(i, parameters_[i], gradient);
        else
          optimizer(parameters_[i], gradient);
      }
    }
  }

  Model& model_;
  typename Strategy::compression compression_;
  std::unique_ptr<detail::replica_link<elements>> link_;
  data_parallel_options options_;
  std::vector<elements> parameters_;
  std::vector<elements> gradients_;
  std::vector<char> ready_;         ///< in this pass
  std::vector<char> used_;          ///< in any pass since gradients were reduced last
  std::vector<std::size_t> order_;  ///< in which they were ready
  std::uint64_t steps_ = 0;
  int accumulating_ = 0;  ///< guards of no_sync that live
  bool reduces_ = true;   ///< in this pass
  bool rebuilt_ = false;
  join_scope<data_parallel>* joining_ = nullptr;
  step_times times_;
  std::optional<detail::reducer<elements>> reducer_;  // last: its thread uses the others
};

}  // namespace allfold
