// Trains one model on many ranks.
#pragma once

#include <algorithm>
#include <allfold/data_parallel/arena.hpp>
#include <allfold/data_parallel/backward_pass.hpp>
#include <allfold/data_parallel/join.hpp>

namespace allfold {

/// How long this rank's thread spent on the last step. A device may still be at work afterwards.
struct step_times {
  std::chrono::nanoseconds computation{};    ///< in the engine's backward and in the optimizer
  std::chrono::nanoseconds communication{};  ///< in collectives, waiting for other ranks included:
                                             ///< what the computation does not hide
};

/// Bytes of one rank's gradients.
struct gradient_memory {
  std::size_t gradients = 0;   ///< all of them, wherever they lie
  std::size_t of_replica = 0;  ///< of these in memory of the replica's own; see bind_gradients
};

/// What a replica remembers from step to step. The same on every rank.
struct replica_state {
  std::uint64_t steps = 0;
  std::vector<std::uint64_t> bucket_order;  ///< of the gradients, if buckets have been rebuilt
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
        arena_{bound(world)},
        gradients_{detail::spans_of<element, space>(detail::call_gradients(model))} {
    detail::check_own_shapes(model_, *link_, parameters_, gradients_, where);
    detail::check_shapes_of_ranks(model_, *link_, parameters_, where);
    adopt(0, where);
    const auto name = [](void* of, std::size_t index) {
      return detail::parameter_name(*static_cast<Model*>(of), index);
    };
    if (options_.rebuild_buckets && !std::is_same_v<typename Strategy::compression, uncompressed>)
      detail::give_up(*link_, "rebuild_buckets does not go with a compression", where);
    pass_.emplace(*link_, gradients_,
                  detail::pass_traits{std::addressof(model_), name, &Strategy::bucketing::plan},
                  options_, where);
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
    try {
      timed(times_.computation, [&] { engine(ready_mark{*pass_, where}); });
    } catch (...) {
      pass_->leave_with(std::current_exception());
      throw;
    }
    timed(times_.communication, [&] { pass_->finish(where, false); });
  }

  /// Reduces all gradients: for engines whose backward pass has no hook. Call it in every step,
  /// after the backward pass.
  void reduce_gradients(std::size_t samples = 1,
                        std::source_location where = std::source_location::current()) {
    begin(samples, where);
    ready_mark{*pass_, where}(0, gradients_.size());
    timed(times_.communication, [&] { pass_->finish(where, false); });
  }

  /// While the guard lives, backward passes reduce nothing: gradients are the engine's to add up,
  /// and the first backward pass afterwards reduces what has come together. Every rank does alike.
  /// Throws usage_error under scale::mean_over_samples, which knows only one pass's samples.
  [[nodiscard]] auto no_sync(std::source_location where = std::source_location::current()) {
    if (options_.scale == scale::mean_over_samples)
      pass_->give_up("no_sync does not go with scale::mean_over_samples", where);
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
      if (averages_now()) {
        for (const elements each : parameters_) link_->average(each, where);
        if (options_.broadcast_buffers) broadcast_buffers(0, where);
      } else {
        for (const elements each : parameters_) link_->share(each, where);
      }
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
  /// What gradients take of this rank's memory. Reducing them takes no other, but for what a
  /// compression keeps.
  gradient_memory memory() const {
    std::size_t bytes = 0;
    for (const elements each : gradients_) bytes += each.size_bytes();
    return {bytes, arena_.size_bytes()};
  }
  /// Which gradients are reduced together, in this order.
  const std::vector<bucket>& buckets() const { return pass_->reductions().buckets(); }
  /// When the last backward pass's buckets were complete and when they were reduced.
  const std::vector<bucket_times>& bucket_timeline() const { return pass_->reductions().times(); }
  /// True if gradients are reduced while the backward pass goes on.
  bool overlaps() const { return pass_->reductions().overlaps(); }
  /// How many collectives reduce all gradients: one for each bucket if they lie side by side.
  std::size_t collectives_per_step() const { return pass_->reductions().stretches(); }
  /// What it must remember from step to step, besides what the compression does; see
  /// checkpoint.hpp. Between steps; `restore` is called by every rank, with the same.
  replica_state state() const { return {steps_, pass_->rebuilt_order()}; }
  void restore(const replica_state& saved,
               std::source_location where = std::source_location::current()) {
    pass_->rebuild_in(saved.bucket_order, where);
    steps_ = saved.steps;
  }
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
  /// The memory of a model that lets the replica say where its gradients lie.
  template <class World>
  detail::arena<element> bound(World& world) {
    if constexpr (space == memory_space::host && detail::binds_gradients<Model, element>) {
      std::vector<std::size_t> sizes;
      std::size_t total = 0;
      for (const elements each : parameters_) total += sizes.emplace_back(each.size());
      detail::arena<element> all{world, total};
      if constexpr (requires { model_.bind_gradients(all.cut(sizes)); })
        model_.bind_gradients(all.cut(sizes));
      else
        bind_gradients(model_, all.cut(sizes));
      return all;
    }
    return {};
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

  /// What all ranks do before a backward pass.
  void begin(std::size_t samples, std::source_location where) {
    times_ = {};
    timed(times_.communication, [&] {
      const detail::turn_out there = joining_ ? joining_->turn_out(where) : detail::turn_out{};
      begin(samples, there, where);
    });
  }
  /// `there`: which ranks take part with inputs of their own.
  void begin(std::size_t samples, const detail::turn_out& there, std::source_location where) {
    const bool accumulates = there.accumulates || accumulating_ > 0;
    if (options_.broadcast_buffers && !accumulates && !is_local())
      broadcast_buffers(there.first, where);
    const bool reduces = !accumulates && !is_local();
    detail::combination how{options_.scale == scale::mean_over_ranks, 1.0};
    if (how.averages && there.live > 0) how.weight = static_cast<double>(size()) / there.live;
    if (reduces && options_.scale == scale::mean_over_samples)
      how.weight = share_of_samples(samples, where);
    pass_->begin(reduces, how, where);
  }
  double share_of_samples(std::size_t samples, std::source_location where) {
    std::uint64_t total = 0;
    for (const std::uint64_t each : link_->gather(samples, where)) total += each;
    if (total == 0) pass_->give_up("no rank had a sample in this backward", where);
    return static_cast<double>(samples) / static_cast<double>(total);
  }
  /// What an engine calls.
  struct ready_mark {
    detail::backward_pass<elements>& pass;
    std::source_location where;
    void operator()(std::size_t index) const { pass.mark_ready(index, where); }
    void operator()(std::size_t first, std::size_t last) const {
      for (std::size_t index = first; index < last; ++index) pass.mark_ready(index, where);
    }
  };
  /// Another rank's pass, for one that has no inputs any more.
  void shadow(const detail::turn_out& there, std::source_location where) {
    begin(0, there, where);
    pass_->finish(where, true);
  }
  /// Takes a rank's parameters and buffers.
  void adopt(int from, std::source_location where) {
    for (const elements each : parameters_)
      link_->broadcast(detail::bytes_of<space>(each), from, where);
    broadcast_buffers(from, where);
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
  detail::arena<element> arena_;
  std::vector<elements> gradients_;
  std::uint64_t steps_ = 0;
  int accumulating_ = 0;  ///< guards of no_sync that live
  join_scope<data_parallel>* joining_ = nullptr;
  step_times times_;
  std::optional<detail::backward_pass<elements>> pass_;  // last: its thread uses the others
};

}  // namespace allfold
