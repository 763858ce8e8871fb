// Trains one model on many ranks.
#pragma once

#include <allfold/data_parallel/backward_pass.hpp>
#include <allfold/data_parallel/continuation.hpp>
#include <allfold/data_parallel/join.hpp>
#include <allfold/data_parallel/model_values.hpp>
#include <allfold/data_parallel/no_sync.hpp>
#include <allfold/data_parallel/replica_state.hpp>
#include <allfold/data_parallel/requirements.hpp>
#include <allfold/data_parallel/step_times.hpp>

namespace allfold {

/// One rank's replica of a model. `Strategy` is `primary_device<root>`, `distributed<Algorithm>` or
/// `local_sgd<…>`. Used by its rank's thread; the model and the communicator must outlive it. All
/// ranks make one and call the same functions in the same order.
template <class Model, class Strategy>  // a trainable_model; what it lacks is said in a sentence
class data_parallel {
  static_assert(detail::require_model<Model>());

 public:
  using element = model_element<Model>;
  static_assert(detail::require_strategy<Strategy, element>());
  static constexpr memory_space space = model_space<Model>;
  using elements = span_in<element, space>;
  static constexpr bool steps_everywhere = Strategy::steps_everywhere;
  static constexpr bool averages_parameters = requires { Strategy::average_every; };

  /// Checks that all ranks' parameters and gradients have the same number and sizes, then copies
  /// rank 0's parameters, buffers and what is frozen to all ranks. Throws usage_error where a model
  /// contradicts itself, mismatch_error naming the rank and the parameter where ranks differ.
  template <communicator World>
  data_parallel(Model& model, World& world, data_parallel_options options = {},
                std::source_location where = std::source_location::current())
      : values_{model},
        link_{std::make_unique<link_to<World>>([&]() -> World& { return world; }, compression_)},
        options_{options},
        arena_{detail::bound_gradients<element, space>(world, model, values_.parameters())},
        gradients_{detail::spans_of<element, space>(detail::call_gradients(model))} {
    static_assert(detail::require_strategy_on<Strategy, World, elements>());
    detail::check_own_shapes(model, *link_, values_.parameters(), gradients_, where);
    detail::check_shapes_of_ranks(model, *link_, values_.parameters(), where);
    values_.adopt(*link_, 0, where);
    detail::check_options<typename Strategy::compression>(*link_, options_, where);
    make_pass(where);
  }

  /// Runs the engine's forward pass, `engine()`, with rank 0's buffers, and returns what it
  /// returns. A replica need not know of forward passes; if it does, the buffers are sent before
  /// them, and not again by the backward pass that follows. Every rank calls it. Throws what
  /// `engine` throws.
  template <class Engine>
  decltype(auto) forward(Engine&& engine,
                         std::source_location where = std::source_location::current()) {
    if (forwarded_ && joining_ != nullptr)
      pass_->give_up("within a join a backward pass follows each forward pass", where);
    prepare(where);
    forwarded_ = true;
    return run(clock_.times.forward, engine);
  }

  /// Runs the engine's backward pass, `engine(ready)`, in which `ready(i)` says that gradient i
  /// will not change any more, and `ready(first, last)` that those from first to last − 1 will not;
  /// when it returns every gradient has been reduced as the strategy does. `samples` is the number
  /// of samples that this rank's gradient is the mean of; it matters for scale::mean_over_samples.
  /// Throws usage_error, on every rank, if a gradient was ready twice, or never ready under
  /// unused::error; and what `engine` throws.
  ///
  /// For models in a device's memory: a gradient will not change any more once the communicator's
  /// stream has come so far as it was when `ready` was called, or another stream that is named
  /// last, as in `ready(i, stream)`. When it returns, what the communicator's stream is given next
  /// finds the gradients reduced. The host waits for no device.
  template <class Engine>
  void backward(Engine&& engine, std::size_t samples = 1,
                std::source_location where = std::source_location::current()) {
    begin(samples, where);
    run(clock_.times.backward, [&] { engine(detail::ready_mark{*pass_, where}); });
    finish(where, false);
  }

  /// Reduces all gradients: for engines whose backward pass has no hook. Call it in every step,
  /// after the backward pass.
  void reduce_gradients(std::size_t samples = 1,
                        std::source_location where = std::source_location::current()) {
    begin(samples, where);
    pass_->mark_ready(0, gradients_.size(), {}, where);
    finish(where, false);
  }

  /// While the guard lives, backward passes reduce nothing: gradients are the engine's to add up,
  /// and the first backward pass afterwards reduces what has come together. Every rank does alike.
  /// Throws usage_error under scale::mean_over_samples, which knows only one pass's samples.
  [[nodiscard]] auto no_sync(std::source_location where = std::source_location::current()) {
    if (options_.scale == scale::mean_over_samples)
      pass_->give_up("no_sync does not go with scale::mean_over_samples", where);
    return detail::accumulation{accumulating_};
  }

  /// Lets ranks run out of inputs at different times; see join.hpp.
  [[nodiscard]] join_scope<data_parallel> join(
      join_options how = {}, std::source_location where = std::source_location::current()) {
    if (joining_ != nullptr) pass_->give_up("a join was begun within another", where);
    return join_scope<data_parallel>{*this, how};
  }

  /// Applies the optimizer where the strategy steps, then makes the parameters equal everywhere.
  /// `optimizer` is called as optimizer(i, parameter, gradient) or optimizer(parameter, gradient)
  /// for each parameter in order, with std::span<element> and std::span<const element>, or with
  /// device_span; or, if it takes nothing, once.
  template <class Optimizer>
  void step(Optimizer&& optimizer, std::source_location where = std::source_location::current()) {
    require_pass(where);
    if (link_->steps()) {
      const detail::stopwatch counting{clock_.times.step};
      values_.step(optimizer, gradients_);
    }
    clock_.communicate([&] { values_.make_equal(*link_, options_.broadcast_buffers, where); });
  }

  /// Goes on with the ranks of `world`, which are left after a failure: those of `world.shrink()`.
  /// Every rank of it calls it; it must outlive the replica. Of those that have come furthest with
  /// whole parameters the lowest gives these to all, and what `state(share)` names on every rank by
  /// calls of share(value), such as the optimizer's state and a batch_cursor; `stateless` if there
  /// is nothing: see continuation.hpp. Buckets, the thread that reduces and the compression begin
  /// anew, the last without what it remembered; what gradients hold is undefined.
  ///
  /// Throws rank_lost_error if nobody holds whole parameters, or if the rank is lost that stepped
  /// for all, unless `how` allows for that; usage_error if the strategy has no rank step among
  /// these. If another rank is lost meanwhile it throws what a collective throws, and is called
  /// again with those that are left then. Until it has returned nothing else may be called.
  template <communicator World, class State>
  continuation continue_on(World& world, State&& state, continue_options how = {},
                           std::source_location where = std::source_location::current()) {
    static_assert(space == memory_space::host,
                  "allfold: replicas in a device's memory do not go on after a failure");
    if (pass_) bucket_order_ = pass_->rebuilt_order();
    pass_.reset();  // its thread has ended now
    forwarded_ = false;
    link_ = std::make_unique<link_to<World>>([&]() -> World& { return world; }, compression_);
    return detail::continuing<data_parallel>{*this, how, where}.with(state);
  }

  Model& model() { return values_.model(); }
  /// The gradients as the model names them.
  const std::vector<elements>& gradients() const { return gradients_; }
  /// True if gradient `index` has a meaning after the last backward pass: where it was reduced,
  /// unless no rank had used its parameter and unused::keep says to leave it as it was; where it
  /// was not, if this rank has used it since gradients were reduced last.
  bool used(std::size_t index) const { return pass_->used(index); }
  /// Of the last step, or of what there is of the current one.
  const step_times& times() const { return clock_.times; }
  int rank() const { return link_->rank(); }
  int size() const { return link_->size(); }
  /// Optimizer steps so far.
  std::uint64_t steps() const { return values_.steps; }
  /// What gradients take of this rank's memory. Not during `backward`. Reducing them takes no
  /// other, but for a moment copies of those that unused::keep leaves as they are; averaging under
  /// local_sgd takes for a moment a copy of the parameters.
  gradient_memory memory() const {
    gradient_memory use{0, arena_.size_bytes(), 0};
    for (const elements each : gradients_) use.gradients += each.size_bytes();
    if constexpr (requires { compression_.bytes_kept(); })
      use.of_compression = compression_.bytes_kept();
    return use;
  }
  /// Which gradients are reduced together, in this order.
  const std::vector<bucket>& buckets() const { return pass_->reductions().buckets(); }
  /// When the last backward pass's buckets were complete and when they were reduced; empty if it
  /// reduced nothing.
  const std::vector<bucket_times>& bucket_timeline() const { return pass_->reductions().times(); }
  /// True if gradients are reduced while the backward pass goes on.
  bool overlaps() const { return pass_->reductions().overlaps(); }
  /// How many collectives reduce all gradients: one for each bucket if they lie side by side.
  std::size_t collectives_per_step() const { return pass_->reductions().stretches(); }
  /// What it must remember from step to step, besides what the compression does; see
  /// checkpoint.hpp. Between steps; `restore` is called by every rank, with the same.
  replica_state state() const { return {steps(), pass_->rebuilt_order()}; }
  void restore(const replica_state& saved,
               std::source_location where = std::source_location::current()) {
    pass_->rebuild_in(saved.bucket_order, where);
    values_.steps = saved.steps;
  }
  /// What the strategy's compression has come to know, such as residuals. Not during `backward`.
  typename Strategy::compression& compression() { return compression_; }

 private:
  friend class join_scope<data_parallel>;
  friend class detail::continuing<data_parallel>;
  template <class World>
  using link_to = detail::linked_by<elements, Strategy, World&, typename Strategy::compression>;

  void make_pass(std::source_location where) {
    const auto name = [](void* of, std::size_t index) {
      return detail::parameter_name(*static_cast<Model*>(of), index);
    };
    pass_.emplace(*link_, gradients_,
                  detail::pass_traits{std::addressof(model()), name, &Strategy::bucketing::plan},
                  options_, where);
    values_.footing.primary = !steps_everywhere && link_->steps();
  }
  void require_pass(std::source_location where) const {
    if (!pass_)
      throw usage_error{"allfold: rank " + std::to_string(rank()) + ", data_parallel at " +
                        place_of(where) + ": continue_on has not returned"};
  }

  /// Runs a pass of the engine's.
  template <class Engine>
  decltype(auto) run(step_times::duration& total, Engine&& engine) {
    const detail::stopwatch counting{total};
    try {
      return engine();
    } catch (...) {
      pass_->leave_with(std::current_exception());
      throw;
    }
  }
  /// True while ranks go their own ways under local_sgd.
  bool is_local() const { return detail::is_local<Strategy>(steps()); }
  /// What all ranks do before the first pass of the engine's.
  void prepare(std::source_location where) {
    require_pass(where);
    clock_.begin_pass();
    clock_.communicate([&] {
      there_ = joining_ != nullptr ? joining_->turn_out(where) : detail::turn_out{};
      send_buffers(where);
    });
  }
  bool accumulates() const { return there_.accumulates || accumulating_ > 0; }
  void send_buffers(std::source_location where) {
    if (options_.broadcast_buffers && !accumulates() && !is_local())
      values_.broadcast_buffers(*link_, there_.first, where);
  }
  /// What all ranks do before a backward pass.
  void begin(std::size_t samples, std::source_location where) {
    if (!std::exchange(forwarded_, false)) prepare(where);
    if (!accumulates()) clock_.end_passes();
    clock_.communicate([&] { begin_pass(samples, where); });
  }
  void begin_pass(std::size_t samples, std::source_location where) {
    const auto use = accumulates() ? detail::gradient_use::accumulated
                     : is_local()  ? detail::gradient_use::own
                                   : detail::gradient_use::reduced;
    detail::combination how{options_.scale == scale::mean_over_ranks, {}};
    if (how.averages && there_.live > 0 && there_.live < size())
      how.weight = static_cast<double>(size()) / there_.live;
    if (use == detail::gradient_use::reduced && options_.scale == scale::mean_over_samples)
      how.weight = share_of_samples(samples, where);
    pass_->begin(use, how, where);
  }
  void finish(std::source_location where, bool shadows) {
    std::chrono::nanoseconds hidden{};
    clock_.communicate([&] { hidden = pass_->finish(where, shadows); });
    clock_.times.communication += hidden;
    clock_.times.bytes += pass_->reductions().bytes_sent();
  }
  double share_of_samples(std::size_t samples, std::source_location where) {
    std::uint64_t total = 0;
    for (const std::uint64_t each : link_->gather(samples, where)) total += each;
    if (total == 0) pass_->give_up("no rank had a sample in this backward", where);
    return static_cast<double>(samples) / static_cast<double>(total);
  }
  /// Another rank's pass, for one that has no inputs any more.
  void shadow(const detail::turn_out& there, std::source_location where) {
    there_ = there;
    clock_.begin_pass();
    if (!accumulates()) clock_.end_passes();
    clock_.communicate([&] {
      send_buffers(where);
      begin_pass(0, where);
    });
    finish(where, true);
  }

  detail::model_values<Model, Strategy> values_;
  typename Strategy::compression compression_;
  std::unique_ptr<detail::replica_link<elements>> link_;
  data_parallel_options options_;
  detail::arena<element> arena_;
  std::vector<elements> gradients_;
  std::vector<std::uint64_t> bucket_order_;  ///< while it has no pass
  int accumulating_ = 0;                     ///< guards of no_sync that live
  bool forwarded_ = false;  ///< the backward pass that comes next has been prepared
  detail::turn_out there_;  ///< who takes part in this pass
  join_scope<data_parallel>* joining_ = nullptr;
  detail::step_clock clock_;
  std::optional<detail::backward_pass<elements>> pass_;  // last: its thread uses the others
};

}  // namespace allfold
