// Trains one model on many ranks.
#pragma once

#include <algorithm>
#include <allfold/data_parallel/model.hpp>
#include <allfold/data_parallel/replica_link.hpp>
#include <chrono>

namespace allfold {

/// What a replica may be told when it is made.
struct data_parallel_options {
  allfold::scale scale = allfold::scale::mean_over_ranks;
};

/// How long this rank's thread spent on the last step. A device may still be at work afterwards.
struct step_times {
  std::chrono::nanoseconds computation{};    ///< in the engine's backward and in the optimizer
  std::chrono::nanoseconds communication{};  ///< in collectives, waiting for other ranks included
};

/// One rank's replica of a model. `Strategy` is primary_device<root> or distributed<Algorithm>.
/// Used by its rank's thread; the model and the communicator must outlive it. All ranks make one
/// and call the same functions in the same order.
template <trainable_model Model, class Strategy>
class data_parallel {
 public:
  using element = model_element<Model>;
  static constexpr memory_space space = model_space<Model>;
  using elements = span_in<element, space>;

  /// Checks that all ranks' parameters and gradients have the same number and sizes, then copies
  /// rank 0's parameters and buffers to all ranks. Throws usage_error where a model contradicts
  /// itself, mismatch_error naming the rank and the parameter where ranks differ.
  template <communicator World>
  data_parallel(Model& model, World& world, data_parallel_options options = {},
                std::source_location where = std::source_location::current())
      : model_{model},
        link_{std::make_unique<detail::linked_by<elements, Strategy, World>>(world)},
        options_{options},
        parameters_{detail::spans_of<element, space>(detail::call_parameters(model))},
        gradients_{detail::spans_of<element, space>(detail::call_gradients(model))},
        ready_(gradients_.size(), false) {
    check_own_shapes(where);
    check_shapes_of_ranks(where);
    for (const elements each : parameters_) link_->broadcast(detail::bytes_of<space>(each), where);
    if constexpr (detail::has_buffers<Model>)
      for (auto&& each : detail::call_buffers(model_))
        link_->broadcast(detail::bytes_of<space>(each), where);
  }

  /// Runs the engine's backward pass, `engine(ready)`, in which `ready(i)` says that gradient i
  /// will not change any more; then every gradient has been reduced as the strategy does. `samples`
  /// is the number of samples that this rank's gradient is the mean of; it matters for
  /// scale::mean_over_samples. Throws usage_error, on every rank, if a gradient was never ready or
  /// ready twice, and what `engine` throws.
  template <class Engine>
  void backward(Engine&& engine, std::size_t samples = 1,
                std::source_location where = std::source_location::current()) {
    times_ = {};
    std::fill(ready_.begin(), ready_.end(), false);
    const auto ready = [this, &where](std::size_t index) { mark_ready(index, where); };
    timed(times_.computation, [&] { engine(ready); });
    for (std::size_t index = 0; index < ready_.size(); ++index)
      if (!ready_[index])
        give_up("the gradient of " + name(index) + " was never ready in this backward", where);
    reduce_all(samples, where);
  }

  /// Reduces all gradients: for engines whose backward pass has no hook. Call it in every step,
  /// after the backward pass.
  void reduce_gradients(std::size_t samples = 1,
                        std::source_location where = std::source_location::current()) {
    times_ = {};
    reduce_all(samples, where);
  }

  /// Applies the optimizer where the strategy steps, then makes the parameters equal everywhere.
  /// `optimizer` is called as optimizer(i, parameter, gradient) or optimizer(parameter, gradient)
  /// for each parameter in order, with std::span<element> and std::span<const element>, or with
  /// device_span; or, if it takes nothing, once.
  template <class Optimizer>
  void step(Optimizer&& optimizer, std::source_location where = std::source_location::current()) {
    if (link_->steps()) timed(times_.computation, [&] { apply(optimizer); });
    timed(times_.communication, [&] {
      for (const elements each : parameters_) link_->share(each, where);
    });
  }

  Model& model() { return model_; }
  const step_times& times() const { return times_; }
  int rank() const { return link_->rank(); }
  int size() const { return link_->size(); }

 private:
  template <class Work>
  static void timed(std::chrono::nanoseconds& total, Work work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    total += std::chrono::steady_clock::now() - begin;
  }
  std::string name(std::size_t index) { return detail::parameter_name(model_, index); }

  [[noreturn]] void give_up(const std::string& what, std::source_location where) {
    const std::string text = what + ", data_parallel at " + place_of(where);
    link_->abort(text);
    throw usage_error{"allfold: rank " + std::to_string(rank()) + ": " + text};
  }

  void check_own_shapes(std::source_location where) {
    if (parameters_.size() != gradients_.size())
      give_up("the model has " + std::to_string(parameters_.size()) + " parameters and " +
                  std::to_string(gradients_.size()) + " gradients",
              where);
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      if (parameters_[i].size() != gradients_[i].size())
        give_up(name(i) + " has " + std::to_string(parameters_[i].size()) +
                    " elements and its gradient " + std::to_string(gradients_[i].size()),
                where);
  }

  /// Every rank compares all ranks with rank 0, so that all come to the same conclusion.
  void check_shapes_of_ranks(std::source_location where) {
    const auto differ = [&](const std::string& what, std::uint64_t mine) {
      const std::vector<std::uint64_t> all = link_->gather(mine, where);
      for (std::size_t peer = 1; peer < all.size(); ++peer)
        if (all[peer] != all[0])
          throw mismatch_error{"allfold: rank " + std::to_string(rank()) + ", data_parallel at " +
                               place_of(where) + ": " + what + std::to_string(all[peer]) +
                               " on rank " + std::to_string(peer) + " and " +
                               std::to_string(all[0]) + " on rank 0"};
    };
    differ("the number of parameters is ", parameters_.size());
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      differ("the number of elements of " + name(i) + " is ", parameters_[i].size());
    if constexpr (detail::has_buffers<Model>) {
      std::uint64_t bytes = 0;
      for (auto&& each : detail::call_buffers(model_)) bytes += span_of(each).size_bytes();
      differ("the size of the buffers in bytes is ", bytes);
    }
  }

  void mark_ready(std::size_t index, std::source_location where) {
    if (index >= ready_.size())
      give_up("gradient " + std::to_string(index) + " was said to be ready, but there are " +
                  std::to_string(ready_.size()),
              where);
    if (ready_[index]) give_up("the gradient of " + name(index) + " was ready twice", where);
    ready_[index] = true;
  }

  /// In the order of their indices, which is the same on every rank whatever order they were ready
  /// in.
  void reduce_all(std::size_t samples, std::source_location where) {
    timed(times_.communication, [&] {
      if (options_.scale == scale::mean_over_samples) weigh(samples, where);
      for (const elements each : gradients_) link_->reduce(each, options_.scale, where);
    });
  }

  /// Multiplies the gradients by this rank's share of all samples.
  void weigh(std::size_t samples, std::source_location where) {
    std::uint64_t total = 0;
    for (const std::uint64_t each : link_->gather(samples, where)) total += each;
    if (total == 0) give_up("no rank had a sample in this backward", where);
    const double weight = static_cast<double>(samples) / static_cast<double>(total);
    for (const elements gradient : gradients_) link_->multiply(gradient, weight);
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
  std::unique_ptr<detail::replica_link<elements>> link_;
  data_parallel_options options_;
  std::vector<elements> parameters_;
  std::vector<elements> gradients_;
  std::vector<bool> ready_;
  step_times times_;
};

}  // namespace allfold
